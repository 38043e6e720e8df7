"""The layer of faults, over a test socket and a virtual clock."""

import contextlib
import socket
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from echod.events import Counters
from echod.faults.injector import FaultInjector
from echod.faults.settings import NO_FAULTS, Faults, Script, Step
from echod.shape import Shape
from echod.socket_names import Inet
from echod.transports.kernel_socket import KernelSocket
from echod.transports.layers.delayed_output import WRITE
from echod.transports.layers.fault_injection import FaultInjected, FaultLayer
from echod.transports.layers.layer_interface import Facts
from tests.wire import Wire


class Top:
    """A receiver that records its calls."""

    def __init__(self):
        self.calls = []

    def begin(self, below):
        self.below = below
        self.calls.append("begin")

    def received(self, data, arrival=None):
        self.calls.append(data)

    def ended(self):
        self.calls.append("ended")

    def stuck(self):
        self.calls.append("stuck")
        self.below.pause()

    def drained(self):
        self.calls.append("drained")
        self.below.resume()

    def lost(self, reason):
        self.calls.append(type(reason))


class Timed(Wire):
    """A socket that records when it gets each write, and how many bytes the peer has not acknowledged."""

    def __init__(self, clock, **keywords):
        super().__init__(**keywords)
        self.clock = clock
        self.log = []

    def write(self, data, text=None):
        super().write(data, text)
        self.log.append((round(self.clock.seconds(), 6), data))

    def drain(self):
        """The kernel accepts everything."""
        self.unsent = 0
        self.receiver.drained()


class Kernel:
    """The kernel's socket, with bytes that the peer has not acknowledged."""

    waiting = 0
    vanished = False
    error = ""

    def unacknowledged(self):
        return self.waiting

    def vanish(self):
        self.vanished = True
        return self.error


class Made:
    def __init__(self, faults, *, messages=False, host=b"\x7f\0\0\1", seed=5, injector=None, room=None):
        self.clock = injector.clock if injector else Clock()
        if injector is None:
            injector = FaultInjector("echo", faults, self.clock.callLater, seed)
            injector.clock = self.clock
            injector.begin()
        self.injector = injector
        shape = Shape.MESSAGE if messages else Shape.STREAM
        self.wire = Timed(self.clock, facts=Facts(Inet("127.0.0.1", 7), Inet("127.0.0.1", 4), shape=shape), room=room)
        self.kernel = self.wire.facts.kernel = Kernel()
        self.top = Top()
        self.counters = Counters()
        self.layer = FaultLayer(lambda: self.top, self.clock, injector.connection(host, self.counters.inject))
        self.wire.receiver = self.layer
        self.layer.begin(self.wire)

    @property
    def writes(self):
        return [data for _, data in self.wire.log]

    @property
    def sent(self):
        return b"".join(self.writes)


def test_without_faults_everything_passes_at_once():
    made = Made(NO_FAULTS)
    made.layer.write(b"a")
    made.layer.received(b"b")
    made.layer.finish()
    assert made.wire.log == [(0, b"a")]
    assert made.top.calls == ["begin", b"b"]
    assert made.wire.ended == "half"
    assert not made.clock.getDelayedCalls()


def test_a_delay_keeps_the_order_and_delays_the_end():
    made = Made(Faults(delay=0.2))
    made.layer.write(b"a")
    made.clock.advance(0.1)
    made.layer.write(b"b")
    made.layer.close()
    assert (made.layer.unsent, made.wire.ended) == (2, "")
    made.clock.pump([0.1, 0.1])
    assert made.wire.log == [(0.2, b"a"), (0.3, b"b")]
    assert (made.layer.unsent, made.wire.ended) == (0, "closed")
    assert made.counters.faults == {"delay": 2}


def test_jitter_never_reorders_a_stream():
    made = Made(Faults(jitter=1.0))
    for letter in b"abcdefghij":
        made.layer.write(bytes([letter]))
        made.clock.advance(0.01)
    made.clock.advance(5)
    assert made.sent == b"abcdefghij"


@pytest.mark.parametrize("messages", [False, True])
def test_the_same_seed_gives_the_same_bytes_at_the_same_times(messages):
    faults = Faults(jitter=0.5, corrupt=0.2, rate=100)
    faults = replace(faults, drop=0.3, duplicate=0.2) if messages else faults

    def run(seed):
        made = Made(faults, messages=messages, seed=seed)
        for number in range(40):
            made.layer.write(b"message %02d" % number)
            made.clock.advance(0.01)
        made.clock.pump([0.01] * 3000)
        return made.wire.log

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_rate_paces_the_bytes():
    made = Made(Faults(rate=1000))
    made.layer.write(bytes(100))
    made.clock.pump([0.001] * 100)
    assert [len(data) for data in made.writes] == [20] * 5
    assert [time for time, _ in made.wire.log] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08], abs=0.002)


def test_a_chunk_is_one_send_in_one_turn():
    made = Made(Faults(chunk=3))
    made.layer.write(b"abcdefgh")
    assert made.writes == [b"abc"]
    made.clock.pump([0.001] * 2)
    assert made.wire.log == [(0, b"abc"), (0.001, b"def"), (0.002, b"gh")]
    assert made.wire.calls.count(("flush",)) == 3
    assert made.counters.faults == {"chunk": 1}


def test_messages_are_not_split_by_chunks_or_a_rate():
    made = Made(Faults(chunk=1, rate=100), messages=True)
    made.layer.write(b"abc")
    assert made.writes == [b"abc"]
    assert ("flush",) not in made.wire.calls


def test_many_chunks_of_a_large_write_are_not_copied_each_time():
    made = Made(Faults(chunk=1))
    made.layer.write(bytes(1 << 20))
    made.clock.pump([0.001] * 3000)
    assert made.layer.unsent == (1 << 20) - 3001
    made.layer.abort()
    assert made.layer.facts.withheld == (1 << 20) - 3001


def test_many_small_messages_above_the_buffer_make_the_level_above_stuck():
    made = Made(Faults(delay=1.0), messages=True)
    made.layer.read_at_once(1000)
    for count in range(10):
        made.layer.write(b"")
        assert ("stuck" in made.top.calls) is (count * WRITE + count + 1 > 1000)
    assert made.layer.unsent == 10


def test_above_the_buffer_the_level_above_is_stuck_until_all_is_sent():
    made = Made(Faults(delay=1.0))
    made.layer.read_at_once(10)
    made.layer.write(bytes(10))
    assert "stuck" not in made.top.calls
    made.layer.write(b"x")
    assert made.top.calls == ["begin", "stuck"]
    assert not made.wire.reads
    made.clock.advance(1)
    assert made.top.calls == ["begin", "stuck", "drained"]
    assert made.wire.reads


def test_while_the_kernel_accepts_nothing_the_queue_waits():
    made = Made(Faults(delay=1.0), room=2)
    made.layer.write(b"abc")
    made.clock.advance(1)
    made.wire.receiver.stuck()
    assert made.layer.unsent == 1
    made.layer.write(b"def")
    made.clock.advance(2)
    assert made.writes == [b"abc"]
    made.wire.drain()
    assert made.writes == [b"abc", b"def"]
    assert made.top.calls == ["begin", "stuck", "drained"]


AFTER = {
    "reset_after": "reset",
    "close_after": "closed",
    "half_close_after": "half",
    "hang_after": "",
    "half_open_after": "",
}


@pytest.mark.parametrize("messages", [False, True])
@pytest.mark.parametrize("limit", [0, 1, 5, 9, 10])
@pytest.mark.parametrize("field", [*AFTER, "truncate"])
def test_exactly_so_many_bytes_are_sent(field, limit, messages):
    made = Made(Faults(**{field: limit}), messages=messages)
    for piece in (b"ab", b"cdefg", b"hij", b"kl"):
        made.layer.write(piece)
    made.clock.advance(0)
    if field == "truncate" and messages:
        assert made.writes == [piece[:limit] for piece in (b"ab", b"cdefg", b"hij", b"kl")]
        return
    assert made.sent == b"abcdefghijkl"[:limit]
    assert made.wire.facts.withheld + limit == 12 or field == "reset_after"
    assert made.wire.ended == AFTER.get(field, "")
    assert made.counters.faults == {field.replace("_", "-"): 1}


def test_a_reset_waits_until_the_peer_has_all_bytes():
    made = Made(Faults(reset_after=2))
    made.kernel.waiting = 2
    made.layer.write(b"abc")
    made.clock.advance(0)
    assert (made.sent, made.wire.ended) == (b"ab", "")
    made.kernel.waiting = 0
    made.clock.advance(0.01)
    assert made.wire.ended == "reset"
    assert isinstance(made.wire.reason, FaultInjected)


def test_a_peer_that_acknowledges_nothing_is_reset_nevertheless():
    made = Made(Faults(reset_after=2))
    made.kernel.waiting = 2
    made.layer.write(b"abc")
    made.clock.pump([0.01] * 600)
    assert made.wire.ended == "reset"


def test_a_connection_is_half_open_when_the_peer_has_all_bytes():
    made = Made(Faults(half_open_after=2))
    made.kernel.waiting = 2
    made.layer.write(b"abc")
    made.layer.close()
    made.clock.advance(0)
    before, made.kernel.waiting = made.kernel.vanished, 0
    made.clock.advance(0.01)
    assert (before, made.kernel.vanished) == (False, True)
    assert (made.sent, made.wire.ended) == (b"ab", "")
    assert made.counters.faults == {"half-open-after": 1}


def test_a_connection_that_ends_before_it_is_half_open_counts_no_fault():
    made = Made(Faults(half_open_after=2))
    made.kernel.waiting = 2
    made.layer.write(b"abc")
    made.clock.advance(0)
    made.layer.lost(ConnectionLost())
    made.clock.advance(10)
    assert not made.kernel.vanished
    assert made.counters.faults == {}


def test_a_unix_socket_is_not_half_open():
    with contextlib.ExitStack() as stack:
        one, _ = map(stack.enter_context, socket.socketpair())
        assert KernelSocket(one).vanish() == "a Unix socket has no packets"


def test_a_connection_of_twisted_is_not_half_open():
    told = []
    made = Made(Faults(half_open_after=2))
    made.injector._tell = lambda name, **fields: told.append((name, fields["error"]))
    made.wire.facts.kernel = None
    made.layer.write(b"abc")
    made.clock.advance(0)
    assert made.counters.faults == {}
    assert told == [("fault.unavailable", "the socket belongs to Twisted")]


def test_a_half_open_connection_that_the_kernel_refuses_is_reported_once_and_hangs():
    told = []
    first = Made(Faults(half_open_after=2))
    first.injector._tell = lambda name, **fields: told.append((name, fields))
    for made in (first, Made(None, injector=first.injector)):
        made.kernel.error = "the kernel refuses it"
        made.layer.write(b"abc")
        made.layer.close()
        made.clock.advance(0)
        assert (made.kernel.vanished, made.sent, made.wire.ended) == (True, b"ab", "")
        assert made.counters.faults == {}, "no fault was injected"
    assert [fields for name, fields in told if name == "fault.unavailable"] == [
        {"service": "echo", "fault": "half-open-after", "error": "the kernel refuses it"}
    ]


def test_the_end_of_the_peer_is_passed_on_until_the_level_above_has_closed():
    made = Made(Faults(delay_close=1.0))
    made.layer.ended()
    assert made.top.calls == ["begin", "ended"]
    other = Made(Faults(delay_close=1.0))
    other.layer.close()
    other.layer.ended()
    assert other.top.calls == ["begin"]


def test_a_change_does_not_revive_an_output_that_a_fault_has_ended():
    made = Made(Faults(half_close_after=1))
    made.layer.write(b"ab")
    made.injector.change(NO_FAULTS)
    made.layer.write(b"c")
    assert made.sent == b"a"


def test_a_seed_that_a_session_chooses_begins_the_pattern_again():
    made = Made(Faults(corrupt=0.5, seed=3))
    made.layer.write(bytes(50))
    other = Made(NO_FAULTS)
    other.layer.choose(Faults(corrupt=0.5, seed=3))
    other.layer.write(bytes(50))
    assert other.sent == made.sent
    other.layer.choose(Faults(corrupt=0.5))  # without a seed the pattern continues
    other.layer.write(bytes(50))
    assert other.sent[50:] != made.sent


def test_an_empty_message_reaches_a_limit_of_nothing():
    made = Made(Faults(close_after=1), messages=True)
    made.layer.write(b"")
    made.layer.write(b"ab")
    assert (made.writes, made.wire.ended) == ([b"", b"a"], "closed")


def test_no_part_of_a_character_is_sent():
    made = Made(Faults(close_after=1), messages=True)
    made.layer.write("é".encode(), True)
    assert (made.writes, made.wire.ended) == ([], "closed")


def test_after_a_half_close_data_still_arrives():
    made = Made(Faults(half_close_after=1))
    made.layer.write(b"ab")
    made.layer.received(b"more")
    assert made.top.calls == ["begin", b"more"]
    made.layer.write(b"c")
    made.layer.close()
    assert (made.sent, made.wire.ended) == (b"a", "closed")


@pytest.mark.parametrize("faults", [Faults(hang_after=1), Faults(silent=True)], ids=["hang", "silent"])
def test_a_connection_that_hangs_is_not_closed_until_it_is_idle(faults):
    made = Made(faults)
    made.layer.write(b"ab")
    made.layer.close()
    made.clock.advance(100)
    assert made.wire.ended == ""
    made.layer.received(b"dropped")
    assert made.layer.dropped == 7
    made.layer.close(0)
    assert made.wire.ended == "closed"


def test_a_stop_of_the_daemon_closes_a_connection_that_hangs():
    made = Made(Faults(silent=True))
    made.layer.close()
    made.layer.facts.going_away = True
    made.layer.flush()
    assert made.wire.ended == "closed"


def test_an_end_is_delayed():
    made = Made(Faults(delay_close=5.0))
    made.layer.write(b"a")
    made.layer.close()
    made.clock.advance(4.9)
    assert (made.sent, made.wire.ended) == (b"a", "")
    made.clock.advance(0.1)
    assert made.wire.ended == "closed"


def test_never_read_pauses_and_nothing_resumes():
    made = Made(Faults(never_read=True))
    assert not made.wire.reads
    made.layer.pause()
    made.layer.resume()
    assert not made.wire.reads
    assert ("clamp",) in made.wire.calls
    made.injector.change(NO_FAULTS)
    assert made.wire.reads


def test_a_refused_connection_is_reset_and_the_level_above_is_told():
    made = Made(Faults(refuse=True))
    assert made.wire.ended == "reset"
    made.layer.lost(FaultInjected())
    assert made.top.calls == [FaultInjected]


def test_the_level_above_is_told_of_a_loss_before_the_beginning():
    made = Made(NO_FAULTS)
    layer = FaultLayer(lambda: made.top, made.clock, made.injector.connection(b"", made.counters.inject))
    layer.lost(ConnectionLost())
    assert made.top.calls == ["begin", ConnectionLost]


def test_a_loss_cancels_every_timer_and_forgets_the_connection():
    made = Made(Faults(delay=1.0, reset_after=1))
    made.layer.write(b"ab")
    made.layer.lost(ConnectionDone())
    assert [call.func.__name__ for call in made.clock.getDelayedCalls()] == ["<lambda>"]  # the event of the injector
    made.injector.end()
    assert not made.clock.getDelayedCalls()
    made.injector.change(Faults(reset_after=0))
    assert made.wire.ended == ""


def test_a_script_changes_open_connections():
    script = Script((Step(NO_FAULTS, 10.0), Step(Faults(truncate=3), 5.0), Step(Faults(reset_after=0), None)))
    made = Made(Faults(script=script))
    made.layer.write(b"ab")
    made.clock.advance(10)
    made.layer.write(b"cd")
    assert made.sent == b"abc"
    made.clock.advance(5)
    made.clock.advance(0)
    assert made.wire.ended == "reset"


def test_a_session_chooses_the_faults_of_its_connection():
    made = Made(NO_FAULTS)
    made.layer.choose(Faults(close_after=2, seed=1))
    made.layer.write(b"abc")
    assert (made.sent, made.wire.ended) == (b"ab", "closed")
    other = Made(None, injector=made.injector)
    other.layer.write(b"abc")
    assert other.sent == b"abc"


def messages_of(faults, count=10):
    made = Made(faults, messages=True)
    for number in range(count):
        made.layer.write(b"%d" % number)
    return made


def test_messages_are_dropped_duplicated_and_counted():
    assert messages_of(Faults(drop=1.0)).writes == []
    twice = messages_of(Faults(duplicate=1.0), 2)
    assert twice.writes == [b"0", b"0", b"1", b"1"]
    assert twice.layer.facts.withheld == -2
    assert twice.counters.faults == {"duplicate": 2}


def test_a_reordered_message_follows_the_next_one_or_waits_a_second():
    made = messages_of(Faults(reorder=1.0), 3)
    assert made.writes == [b"1", b"0"]
    assert made.layer.unsent == 1
    made.layer.close()
    assert made.wire.ended == ""
    made.clock.advance(1)
    assert made.writes == [b"1", b"0", b"2"]
    assert (made.layer.unsent, made.wire.ended) == (0, "closed")


def test_the_level_above_is_not_told_that_all_is_sent_while_a_message_is_kept():
    made = Made(Faults(reorder=1.0), messages=True)
    made.layer.write(b"0")
    made.wire.receiver.stuck()
    made.wire.drain()
    assert made.top.calls == ["begin", "stuck"]
    made.clock.advance(1)
    assert made.top.calls == ["begin", "stuck", "drained"]


def test_an_empty_message_is_a_message():
    made = Made(Faults(delay=1.0), messages=True)
    made.layer.write(b"")
    assert made.layer.unsent == 1
    made.clock.advance(1)
    assert made.writes == [b""]
    assert made.layer.unsent == 0


@given(
    st.lists(st.binary(max_size=50), max_size=12),
    st.floats(0, 0.1),
    st.sampled_from([None, 1, 7, 1000]),
    st.sampled_from([None, 1, 5]),
    st.integers(0, 200),
    st.sampled_from([None, *AFTER, "truncate"]),
)
def test_bytes_are_conserved(pieces, jitter, rate, chunk, limit, field):
    made = Made(Faults(delay=0.01, jitter=jitter, rate=rate, chunk=chunk, **({field: limit} if field else {})))
    written = 0
    for piece in pieces:
        made.layer.write(piece)
        written += len(piece)
        made.clock.advance(0.005)
    assert len(made.sent) + made.layer.unsent + made.wire.facts.withheld == written
    made.clock.pump([1.0] * 700)
    data = b"".join(pieces)
    assert made.sent == (data if field is None else data[:limit])
    assert len(made.sent) + made.wire.facts.withheld == written
    assert made.layer.unsent == 0
