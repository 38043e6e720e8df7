"""The flows of a load over a peer in memory that cuts, changes, drops and repeats what it returns."""

import errno
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from echod.client.load.counts import CLOSED, RESET, TIMED_OUT, WRONG, LoadCounts
from echod.client.load.flow import ConnectionFlow, Flow, MessageFlow
from echod.client.load.pattern import Pattern, Sizes
from echod.socket_names import UnixName
from echod.transports.connection_failed import ConnectionFailed
from echod.transports.layers.layer_interface import Facts, ProtocolError

PATTERN = Pattern()


class Recorder:
    """A load that records what its flows report."""

    def __init__(self, sizes: tuple[int, ...] = (64,), depth: int = 8) -> None:
        self.counts, self.pattern, self.sizes, self.depth = LoadCounts(), PATTERN, Sizes(sizes), depth
        self.details: list[str] = []
        self.refused: list[str] = []
        self.ended = self.dialed = 0

    def dial(self, flow: Any) -> None:
        self.dialed += 1

    def opened(self, flow: Any) -> None:
        pass

    def closed(self, flow: Any) -> None:
        self.ended += 1

    def completed(self, flow: Any, done: int, now: int) -> None:
        pass

    def failed(self, flow: Any, cause: str, detail: str) -> None:
        self.counts.fail(cause, detail)
        self.details.append(detail)

    def refuse(self, reason: str) -> None:
        self.refused.append(reason)


class Wire:
    """The level below a flow: it collects what is written, and how the connection ends."""

    def __init__(self) -> None:
        self.facts = Facts(UnixName(""), UnixName(""))
        self.written: list[bytes] = []
        self.end = ""

    def write(self, data: bytes, text: bool | None = None) -> None:
        self.written.append(data)

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        self.end = "finished"

    def close(self, linger: float = 0) -> None:
        self.end = "closed"

    def abort(self, reason: Exception | None = None) -> None:
        self.end = "aborted"


def connected(kind: Callable[[Any, int], Any] = Flow, **options: Any) -> tuple[Recorder, Any, Wire]:
    load, wire = Recorder(**options), Wire()
    flow = kind(load, 3)
    flow.begin(wire)
    return load, flow, wire


def account(load: Recorder) -> tuple[int, ...]:
    counts = load.counts
    found = (counts.sent, counts.received, counts.wrong, counts.lost, counts.abandoned, counts.awaited)
    assert counts.sent == sum(found[1:])
    return found


sizes_of = st.lists(st.integers(1, 300), min_size=1, max_size=5).map(tuple)


@given(sizes_of, st.lists(st.integers(1, 500), max_size=40), st.integers(1, 20))
def test_replies_in_pieces_of_any_length_complete_every_message(
    sizes: tuple[int, ...], cuts: list[int], messages: int
) -> None:
    load, flow, wire = connected(sizes=sizes, depth=messages)
    flow.issue([0] * messages, 0)
    assert flow.room == 0
    reply, at = b"".join(wire.written), 0
    assert len(reply) == sum(sizes[number % len(sizes)] for number in range(messages))
    for cut in [*cuts, len(reply)]:
        flow.received(reply[at : at + cut])
        at += cut
        if at >= len(reply):
            break
    assert account(load) == (messages, messages, 0, 0, 0, 0)
    assert load.counts.bytes_received == load.counts.bytes_sent == len(reply)
    assert (flow.room, load.details, wire.end) == (messages, [], "")


@given(st.integers(1, 100), st.integers(1, 10), st.data())
def test_a_changed_byte_fails_its_own_message_and_no_earlier_one(size: int, messages: int, data: st.DataObject) -> None:
    load, flow, wire = connected(sizes=(size,), depth=messages)
    flow.issue([0] * messages, 0)
    reply = bytearray(b"".join(wire.written))
    at = data.draw(st.integers(0, len(reply) - 1))
    reply[at] ^= 0x80
    flow.received(bytes(reply))
    message, byte = divmod(at, size)
    assert load.details[0].startswith(f"message {message + 1}, byte {byte} (byte {at} of the connection): 0x")
    flow.lost(ConnectionLost())
    assert account(load) == (messages, message, 1, 0, messages - message - 1, 0)
    assert (dict(load.counts.failures), wire.end, load.ended) == ({WRONG: 1}, "aborted", 1)


@given(st.integers(2, 100), st.integers(2, 10), st.data())
def test_a_byte_that_is_lost_or_repeated_is_found(size: int, messages: int, data: st.DataObject) -> None:
    load, flow, wire = connected(sizes=(size,), depth=messages)
    flow.issue([0] * messages, 0)
    reply = b"".join(wire.written)
    at = data.draw(st.integers(0, len(reply) - 1))
    repeated = data.draw(st.booleans())
    shifted = reply[:at] + reply[at : at + 1] * 2 + reply[at + 1 :] if repeated else reply[:at] + reply[at + 1 :]
    flow.received(shifted)
    if load.counts.failed:
        assert dict(load.counts.failures) == {WRONG: 1}
    else:  # the bytes that are equal to their neighbours fit, so the last message is not complete
        assert not repeated
        assert account(load)[1] < messages


def test_messages_that_are_swapped_are_found() -> None:
    load, flow, wire = connected()
    flow.issue([0, 0], 0)
    [both] = wire.written
    flow.received(both[64:] + both[:64])
    assert load.details[0].startswith("message 1, byte 0 (byte 0 of the connection): 0x")


def test_the_reply_of_another_connection_is_found() -> None:
    load, flow, wire = connected()
    other = Flow(load, 4)
    other.begin(Wire())  # type: ignore[arg-type]  # the part of it that flows use
    flow.issue([0], 0)
    other.issue([0], 0)
    other.received(wire.written[0])
    assert dict(load.counts.failures) == {WRONG: 1}


def test_bytes_beyond_the_messages_are_found_also_while_the_load_ends() -> None:
    for leaving in (False, True):
        load, flow, wire = connected()
        flow.issue([0], 0)
        flow.received(wire.written[0])
        if leaving:
            flow.leave()
            assert wire.end == "finished"
        flow.received(b"x")
        assert load.details == ["byte 64 of the connection: more bytes were received than were sent"]


def test_the_end_of_a_load_is_no_failure() -> None:
    load, flow, wire = connected()
    flow.leave()
    flow.ended()
    assert wire.end == "closed"
    flow.lost(ConnectionDone())
    assert (load.details, load.ended) == ([], 1)


def test_a_peer_that_does_not_close_is_cut_off() -> None:
    load, flow, wire = connected()
    flow.leave()
    flow.check(2**62, 1)
    assert wire.end == "aborted"
    flow.lost(ConnectionDone())
    assert load.details == []


def test_a_message_without_a_reply_times_out_once() -> None:
    load, flow, wire = connected()
    flow.issue([0, 0, 0], 1000)
    flow.check(1000 + 50, 50)
    assert account(load)[3] == 0
    flow.check(1000 + 51, 50)
    flow.check(10**9, 50)
    assert wire.end == "aborted"
    flow.lost(ConnectionLost())
    assert account(load) == (3, 0, 0, 1, 2, 0)
    assert dict(load.counts.failures) == {TIMED_OUT: 1}


def test_an_early_end_and_a_reset_are_counted_by_cause() -> None:
    for end, cause in (("ended", CLOSED), ("lost", RESET)):
        load, flow, _wire = connected()
        flow.issue([0, 0], 0)
        if end == "ended":
            flow.ended()
        flow.lost(ConnectionFailed(OSError(errno.ECONNRESET, "")))
        assert dict(load.counts.failures) == {cause: 1}
        assert account(load) == (2, 0, 0, 0, 2, 0)


def test_the_end_of_a_connection_has_the_error_of_the_system() -> None:
    for reason, cause, detail in (
        (ConnectionFailed(OSError(errno.ECONNRESET, "")), RESET, "connection reset by peer (ECONNRESET)"),
        (ConnectionFailed(OSError(errno.ETIMEDOUT, "")), TIMED_OUT, "connection timed out (ETIMEDOUT)"),
        (ConnectionFailed(OSError(errno.EHOSTUNREACH, "")), "EHOSTUNREACH", "no route to host (EHOSTUNREACH)"),
        (ConnectionAborted(), RESET, "software caused connection abort (ECONNABORTED)"),
        (ConnectionLost(), CLOSED, "the peer closed the connection"),
        (ConnectionDone(), CLOSED, "the peer closed the connection"),
    ):
        load, flow, _wire = connected()
        flow.issue([0], 0)
        flow.lost(reason)
        assert (dict(load.counts.failures), load.details) == ({cause: 1}, [detail])


def test_a_violation_of_a_protocol_is_a_cause_of_its_own() -> None:
    for end in ("ended", "lost"):
        load, flow, wire = connected()
        flow.issue([0], 0)
        wire.facts.error = ProtocolError("wrong frame: \x1b masked")
        if end == "ended":
            flow.ended()
        flow.lost(ConnectionDone())
        assert dict(load.counts.failures) == {"protocol error": 1}
        assert load.details == ["wrong frame: \\x1b masked"]


def test_a_connection_after_a_failure_has_other_bytes() -> None:
    load, flow, wire = connected()
    flow.issue([0], 0)
    flow.lost(ConnectionLost())
    flow.begin(again := Wire())
    flow.issue([0], 0)
    assert wire.written != again.written
    flow.received(again.written[0])
    assert account(load) == (2, 1, 0, 0, 1, 0)


def test_a_service_that_greets_is_refused_as_another_kind() -> None:
    load, flow, _wire = connected()
    load.pattern = Pattern({"echo": bytes, "upper": bytes.upper})
    flow.received(b"220 welcome\r\n")
    flow.ended()
    assert "expected the reply of echo, upper or the like, but it begins with '220 welcome" in load.refused[0]
    assert load.details == []


class TestMessages:
    """Connections that keep messages."""

    def test_each_message_is_written_and_completed_by_itself(self) -> None:
        load, flow, wire = connected(MessageFlow, sizes=(5, 9))
        flow.issue([0] * 4, 0)
        assert [len(data) for data in wire.written] == [5, 9, 5, 9]
        for number, data in enumerate(wire.written):
            flow.received(data)
            assert load.counts.received == number + 1

    def test_a_message_that_is_split_joined_or_missing_is_wrong(self) -> None:
        for change in (
            lambda messages: [messages[0][:3], messages[0][3:]],
            lambda messages: [messages[0] + messages[1]],
            lambda messages: [messages[1]],
            lambda messages: [b""],
        ):
            load, flow, wire = connected(MessageFlow, sizes=(16,))
            flow.issue([0] * 2, 0)
            for data in change(wire.written):
                flow.received(data)
            assert dict(load.counts.failures) == {WRONG: 1}
            assert account(load)[2] == 1

    def test_a_message_without_a_request_is_wrong(self) -> None:
        load, flow, wire = connected(MessageFlow)
        flow.issue([0], 0)
        flow.received(wire.written[0])
        flow.received(wire.written[0])
        assert load.details == ["byte 64 of the connection: more bytes were received than were sent"]


class TestConnections:
    """A connection for each message."""

    def test_one_message_and_then_the_end(self) -> None:
        load, wire = Recorder(), Wire()
        flow = ConnectionFlow(load, 0)
        flow.open()
        assert (flow.room, load.dialed) == (1, 0)
        flow.issue([0], 0)
        assert (flow.room, load.dialed, wire.written) == (0, 1, [])
        flow.begin(wire)  # type: ignore[arg-type]  # the part of it that flows use
        flow.received(wire.written[0])
        assert (wire.end, load.counts.received) == ("finished", 1)
        flow.ended()
        flow.lost(ConnectionDone())
        flow.open()
        assert (load.details, load.ended, flow.room) == ([], 1, 1)

    def test_a_refused_connection_abandons_its_message(self) -> None:
        load = Recorder()
        flow = ConnectionFlow(load, 0)
        flow.open()
        flow.issue([0], 0)
        flow.unreachable(ConnectionRefusedError(111, ""))
        assert dict(load.counts.failures) == {"refused": 1}
        assert account(load) == (1, 0, 0, 0, 1, 0)
