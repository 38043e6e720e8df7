"""Datagrams of a load: each reply is received, late, duplicated, reordered or wrong, and each message has one fate."""

import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from echod.client.load.counts import TIMED_OUT, WRONG, LoadCounts
from echod.client.load.datagram_flow import MARK, DatagramFlow
from echod.client.load.pattern import Pattern, Sizes


class Recorder:
    """A load that records what its flow reports, and a watcher that does nothing."""

    def __init__(self, depth: int) -> None:
        self.counts, self.pattern, self.sizes, self.depth = LoadCounts(), Pattern(), Sizes((64,)), depth
        self.details: list[str] = []
        self.refused: list[str] = []

    def opened(self, flow: Any) -> None:
        pass

    def closed(self, flow: Any) -> None:
        pass

    def completed(self, flow: Any, done: int, now: int) -> None:
        pass

    def failed(self, flow: Any, cause: str, detail: str) -> None:
        self.counts.fail(cause, detail)
        self.details.append(detail)

    def refuse(self, reason: str) -> None:
        self.refused.append(reason)

    def join(self, joined: Any) -> None:
        joined.watched = 0

    def watch(self, watched: Any, events: int) -> None:
        watched.watched = events

    def forget(self, watched: Any) -> None:
        pass

    def soon(self, call: Any) -> None:
        pass


class Lab:
    """A flow and its peer, over a pair of sockets."""

    def __init__(self, depth: int = 64) -> None:
        ours, self.peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.load = Recorder(depth)
        self.flow: Any = DatagramFlow(self.load, 0)  # type: ignore[arg-type]  # the part of a load that it uses
        self.flow.attach(ours, self.load, b"")

    def issue(self, count: int, now: int = 0) -> list[bytes]:
        self.flow.issue([now] * count, now)
        return [self.peer.recv(65_536) for _ in range(count)]

    def reply(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.peer.send(datagram)
        self.flow.doRead()

    def fates(self) -> tuple[int, ...]:
        counts = self.load.counts
        return counts.received, counts.wrong, counts.lost, counts.awaited

    def replies(self) -> tuple[int, ...]:
        counts = self.load.counts
        return counts.duplicated, counts.reordered, counts.late


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.flow.unreachable(OSError(5, "the end"))
    made.peer.close()


def test_replies_in_order_are_received(lab: Lab) -> None:
    lab.reply(*lab.issue(3))
    assert (lab.fates(), lab.replies(), lab.load.details) == ((3, 0, 0, 0), (0, 0, 0), [])


def test_a_reply_after_that_of_a_later_message_is_reordered(lab: Lab) -> None:
    one, two, three = lab.issue(3)
    lab.reply(three, one, two)
    assert (lab.fates(), lab.replies()) == ((3, 0, 0, 0), (0, 2, 0))


def test_a_second_reply_is_a_duplicate(lab: Lab) -> None:
    one, two = lab.issue(2)
    lab.reply(one, one, two, one, two)
    assert (lab.fates(), lab.replies()) == ((2, 0, 0, 0), (3, 0, 0))


def test_a_message_is_lost_after_the_timeout_and_its_reply_is_late_once(lab: Lab) -> None:
    [one] = lab.issue(1, now=1000)
    [two] = lab.issue(1, now=1500)
    lab.flow.check(2000, 1000)
    assert lab.fates() == (0, 0, 0, 2)
    lab.flow.check(2001, 1000)
    assert (lab.fates(), lab.flow.room) == ((0, 0, 1, 1), 63)
    lab.reply(one, one, two)
    assert (lab.fates(), lab.replies()) == ((1, 0, 1, 0), (1, 0, 1))
    assert dict(lab.load.counts.failures) == {TIMED_OUT: 1}


@pytest.mark.parametrize("byte", [MARK, 40, 63])
def test_a_changed_byte_is_reported_with_its_position(lab: Lab, byte: int) -> None:
    one, two = lab.issue(2)
    lab.reply(two)
    lab.reply(one[:byte] + bytes([one[byte] ^ 1]) + one[byte + 1 :])
    assert lab.fates() == (1, 1, 0, 0)
    assert lab.load.details == [f"message 1: byte {byte} is 0x{one[byte] ^ 1:02x}, expected 0x{one[byte]:02x}"]


def test_a_short_or_long_reply_is_wrong(lab: Lab) -> None:
    one, two, three = lab.issue(3)
    lab.reply(three, one[:50], two + b"x")
    assert lab.fates() == (1, 2, 0, 0)
    assert lab.load.details == [
        f"message {n}: the reply has {size} bytes, expected 64" for n, size in ((1, 50), (2, 65))
    ]


@pytest.mark.parametrize("foreign", [b"", b"hello", b"000000000099" + bytes(52), b"000000000000" + bytes(52)])
def test_a_datagram_that_fits_no_message_is_wrong_and_nothing_else_changes(lab: Lab, foreign: bytes) -> None:
    lab.reply(*lab.issue(1))
    lab.reply(foreign)
    assert (lab.fates(), dict(lab.load.counts.failures)) == ((1, 0, 0, 0), {WRONG: 1})


def test_another_service_ends_the_load(lab: Lab) -> None:
    lab.issue(1)
    lab.reply(b"Monday, November 30, 2026 02:50:52-UTC\r\n")
    assert "but it begins with 'Monday, November 30" in lab.load.refused[0]


def test_a_full_peer_is_waited_for_and_nothing_is_lost() -> None:
    lab = Lab(depth=5_000)
    lab.flow.issue([0] * 5_000, 0)  # more than the queue of a Unix socket
    while lab.fates()[0] < 5_000:
        batch = []
        try:
            while len(batch) < 64:
                batch.append(lab.peer.recv(65_536))
        except BlockingIOError:
            pass
        lab.reply(*batch[:5])
        lab.reply(*batch[5:10])
        for at in range(10, len(batch), 5):
            lab.reply(*batch[at : at + 5])
        lab.flow.doWrite()
    assert (lab.fates(), lab.replies(), lab.load.details) == ((5_000, 0, 0, 0), (0, 0, 0), [])
    lab.flow.unreachable(OSError(5, "the end"))
    lab.peer.close()


def test_any_order_of_replies_losses_and_repetitions_is_counted_exactly() -> None:
    for seed in range(30):
        chance = random.Random(seed)
        lab = Lab()
        sent = lab.issue(8)
        dropped = set(chance.sample(range(8), chance.randint(0, 4)))
        copies = [number for number in range(8) if number not in dropped for _ in range(chance.randint(1, 2))][:10]
        chance.shuffle(copies)
        lab.reply(*(sent[number] for number in copies))
        first = list(dict.fromkeys(copies))
        lab.flow.check(10**12, 1)
        assert lab.fates() == (len(first), 0, 8 - len(first), 0)
        overtaken = sum(number < max(first[:at], default=-1) for at, number in enumerate(first))
        assert lab.replies() == (len(copies) - len(first), overtaken, 0)
        lab.flow.unreachable(OSError(5, "the end"))
        lab.peer.close()
