"""The faults of datagrams: with a virtual clock, and a `send` that records."""

import pytest
from twisted.internet.task import Clock

from echod.events import Counters
from echod.faults.injector import FaultInjector
from echod.faults.settings import NO_FAULTS, Faults
from echod.gate.refusal import Refusal
from echod.gate.total_buffer import SendBudget
from echod.model import Peer
from echod.socket_names import Inet
from echod.transports import datagram_faults
from echod.transports.datagram_faults import WITHHELD, DatagramFaults

HOST = b"\x7f\0\0\1"


class Made:
    def __init__(self, faults, seed=5, limit=1 << 20):
        self.clock, self.counters, self.budget = Clock(), Counters(), SendBudget()
        self.injector = FaultInjector("echo", faults, self.clock.callLater, seed)
        self.faults = DatagramFaults(self.injector, self.clock, self.counters, self.budget.mark(limit))
        self.log = []
        self.error = None

    def peer(self, port=4, repeats=True, host=HOST):
        def send(data):
            self.log.append((round(self.clock.seconds(), 6), port, data))
            return self.error

        peer = Peer("udp", Inet("127.0.0.1", 7), Inet("127.0.0.1", port))
        return self.faults.around(peer, host, send, repeats=repeats)

    @property
    def sent(self):
        return [data for _, _, data in self.log]


def test_without_faults_the_datagram_is_sent_and_counted_by_the_caller():
    made = Made(NO_FAULTS)
    _, send = made.peer()
    assert send(b"a") is None
    assert made.sent == [b"a"]
    assert made.counters.datagrams_out == 0


def test_a_dropped_datagram_is_not_counted_as_sent():
    made = Made(Faults(drop=1.0))
    _, send = made.peer()
    assert send(b"a") is WITHHELD
    assert (made.sent, made.counters.datagrams_out, made.counters.faults) == ([], 0, {"drop": 1})


def test_delayed_datagrams_are_sent_later_and_counted_then():
    made = Made(Faults(delay=0.5))
    _, send = made.peer()
    send(b"abc")
    assert (made.counters.datagrams_out, made.budget.total) == (0, 3)
    made.clock.advance(0.5)
    assert made.log == [(0.5, 4, b"abc")]
    assert (made.counters.datagrams_out, made.counters.bytes_out, made.budget.total) == (1, 3, 0)


def test_the_same_seed_gives_the_same_datagrams_at_the_same_times():
    faults = Faults(jitter=0.5, corrupt=0.2, drop=0.3, duplicate=0.2, reorder=0.2, rate=1000)

    def run(seed):
        made = Made(faults, seed)
        for number in range(60):
            made.peer(number % 3)[1](b"message %02d" % number)
            made.clock.advance(0.01)
        made.clock.pump([0.05] * 200)
        return made.log

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_flows_are_numbered_in_the_order_of_their_first_reply():
    made = Made(Faults(jitter=1.0))
    for port in (1, 2, 1):
        made.peer(port)[1](b"x")
    made.clock.pump([0.001] * 1100)
    other = Made(Faults(jitter=1.0))
    for port in (7, 8, 7):
        other.peer(port)[1](b"x")
    other.clock.pump([0.001] * 1100)
    assert [time for time, _, _ in made.log] == [time for time, _, _ in other.log]


def test_a_duplicate_goes_only_to_a_peer_that_may_get_more_than_it_sent():
    made = Made(Faults(duplicate=1.0))
    made.peer(repeats=True)[1](b"a")
    made.peer(repeats=False)[1](b"b")
    assert made.sent == [b"a", b"a", b"b"]
    assert made.counters.refused == {Refusal.LARGER: 1}
    assert made.counters.datagrams_out == 3


def test_a_reordered_datagram_follows_the_next_one_or_waits_a_second():
    made = Made(Faults(reorder=1.0))
    _, send = made.peer()
    for data in (b"0", b"1", b"2"):
        send(data)
    assert made.sent == [b"1", b"0"]
    made.clock.advance(1)
    assert made.sent == [b"1", b"0", b"2"]
    assert made.budget.total == 0


def test_a_rate_is_that_of_a_flow():
    made = Made(Faults(rate=100))
    for port in (1, 2):
        for _ in range(3):
            made.peer(port)[1](bytes(10))
    made.clock.pump([0.1] * 4)
    assert [time for time, port, _ in made.log if port == 1] == pytest.approx([0, 0.1, 0.2])
    assert len(made.log) == 6


@pytest.mark.parametrize(
    ("faults", "sent"),
    [
        (Faults(silent=True), []),
        (Faults(truncate=2), [b"ab"]),
        (Faults(truncate=0), [b""]),
        (Faults(corrupt=1.0, seed=1), None),
    ],
)
def test_one_reply(faults, sent):
    made = Made(faults)
    made.peer()[1](b"abcd")
    if sent is None:
        assert made.sent != [b"abcd"]
        assert len(made.sent[0]) == 4
    else:
        assert made.sent == sent
    assert sum(made.counters.faults.values()) == 1


def test_delayed_datagrams_are_bounded_in_number_and_in_bytes(monkeypatch):
    monkeypatch.setattr(datagram_faults, "MOST_DELAYED", 2)
    made = Made(Faults(delay=1.0))
    for _ in range(3):
        made.peer()[1](b"abc")
    assert made.counters.refused == {Refusal.DELAYED: 1}
    small = Made(Faults(delay=1.0), limit=4)
    for _ in range(3):
        small.peer()[1](b"abc")
    assert small.counters.refused == {Refusal.DELAYED: 1}
    assert small.budget.total == 6


def test_one_host_leaves_room_for_the_delayed_datagrams_of_others(monkeypatch):
    monkeypatch.setattr(datagram_faults, "MOST_OF_HOST", 2)
    made = Made(Faults(delay=1.0))
    for _ in range(2):
        for port in range(3):
            made.peer(port)[1](b"mine")
        made.peer(host=b"\x7f\0\0\2")[1](b"other")
        made.clock.advance(1.0)
    assert made.counters.refused == {Refusal.DELAYED: 2}
    assert made.sent == [b"mine", b"mine", b"other"] * 2


def test_a_datagram_that_would_wait_too_long_for_its_turn_is_dropped():
    made = Made(Faults(rate=1))
    for _ in range(5):
        made.peer()[1](bytes(30))
    assert made.counters.refused == {Refusal.DELAYED: 2}
    made.clock.pump([1.0] * 61)
    assert len(made.sent) == 3
    made.peer(port=5)[1](b"x")
    assert len(made.sent) == 4


def test_flows_are_bounded(monkeypatch):
    monkeypatch.setattr(datagram_faults, "MOST_FLOWS", 2)
    made = Made(Faults(delay=1.0))
    for port in range(5):
        made.peer(port)[1](b"x")
    assert len(made.faults._flows) == 2


def test_an_error_of_the_kernel_is_counted():
    made = Made(Faults(truncate=1))
    made.error = OSError()
    made.peer()[1](b"ab")
    assert made.counters.refused == {Refusal.SEND: 1}


def test_a_stop_drops_what_waits():
    made = Made(Faults(delay=1.0))
    made.peer()[1](b"ab")
    made.faults.stop()
    made.injector.end()
    assert not made.clock.getDelayedCalls()
    assert made.budget.total == 0


def test_a_service_chooses_the_faults_of_one_reply():
    made = Made(NO_FAULTS)
    peer, send = made.peer()
    assert peer.choose_faults is not None
    peer.choose_faults(Faults(truncate=1))
    send(b"abc")
    made.peer()[1](b"abc")
    assert made.sent == [b"a", b"abc"]


def test_a_change_begins_the_flows_again():
    made = Made(Faults(jitter=1.0))
    made.peer(1)[1](b"x")
    made.injector.change(Faults(jitter=1.0, seed=5))
    made.peer(2)[1](b"x")
    made.clock.pump([0.001] * 1100)
    assert made.log[0][0] == made.log[1][0]
