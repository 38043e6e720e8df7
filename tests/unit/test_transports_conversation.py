"""A conversation whose session holds input: reading pauses, no input is lost, and the end comes after all input."""

from dataclasses import replace

from twisted.internet.error import ConnectionDone

from echod.events import Closing, Counters
from echod.gate.limits import Limits
from echod.gate.work_budget import WorkBudget
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, Context, End, Quiet, Reply
from echod.services.line_buffer import LineInput
from echod.shape import Shape
from echod.transports.conversation import Conversation
from tests.turns import Turns
from tests.wire import FACTS, Wire


class Counting:
    """Answers each line with its length, as the work budget allows."""

    def __init__(self, work):
        self.input = LineInput(Context(work=work), messages=False)
        self.asked = []

    def opened(self):
        return NOTHING

    def received(self, data, arrival=PLAIN):
        self.input.add(data)
        return self.proceed()

    def proceed(self):
        self.asked.append("proceed")
        out = b"".join(b"%d " % (len(piece) - 1) for piece in self.input.pieces())
        return Reply(out, held=self.input.held)

    def ended(self):
        self.asked.append("ended")
        return Reply(b"end", end=End.CLOSE)

    def lost(self):
        self.asked.append("lost")


class Room:
    """A conversation that processes ten lines at a time."""

    def __init__(self, make=Counting, facts=FACTS):
        self.turns = Turns()
        self.work = WorkBudget(self.turns.later, portion=10, turn=10)
        self.counters = Counters(open=1)
        self.reasons = []
        self.session = make(self.work)
        self.conversation = Conversation(
            lambda _peer, _say: self.session,
            "tcp",
            Limits(idle=60.0),
            self.counters,
            lambda _conversation, reason: self.reasons.append(reason),
            work=self.work,
        )
        self.wire = Wire(facts)
        self.conversation.begin(self.wire)

    @property
    def reads(self):
        return self.wire.reads


def test_reading_pauses_until_held_input_is_processed():
    room = Room()
    room.conversation.received(b"x\n" * 35)
    assert (room.wire.sent, room.reads) == (b"1 " * 10, False)
    room.turns.turn()
    assert (room.wire.sent, room.reads) == (b"1 " * 20, False)
    room.turns.all()
    assert (room.wire.sent, room.reads) == (b"1 " * 35, True)


def test_a_drained_transport_does_not_read_while_input_is_held():
    room = Room()
    room.conversation.received(b"x\n" * 15)
    room.conversation.stuck()
    room.conversation.drained()
    assert not room.reads
    room.conversation.stuck()
    room.turns.all()
    assert not room.reads
    room.conversation.drained()
    assert room.reads


def test_the_session_ends_after_the_last_held_line():
    room = Room()
    room.conversation.received(b"x\n" * 35)
    room.conversation.ended()
    assert "ended" not in room.session.asked
    room.turns.all()
    assert room.wire.sent == b"1 " * 35 + b"end"
    assert room.session.asked.count("ended") == 1
    assert room.wire.ended == "closed"


def test_drain_and_idle_wait_for_held_input():
    room = Room()
    room.conversation.watch(0.0)
    room.conversation.received(b"x\n" * 35)
    room.conversation.watch(1.0)
    room.conversation.leave(100.0, silence=1.0)
    room.conversation.watch(100.0)
    assert room.wire.ended == ""
    room.turns.all()
    room.conversation.leave(100.0, silence=1.0)
    assert (room.wire.sent, room.wire.ended) == (b"1 " * 35, "closed")


def test_a_lost_connection_does_not_process_held_input():
    room = Room()
    room.conversation.received(b"x\n" * 35)
    room.conversation.lost(ConnectionDone())
    assert room.work.waiting == 0
    room.turns.all()
    assert room.session.asked == ["proceed", "lost"]
    assert len(room.reasons) == 1


class Ending(Counting):
    """Ends with its second portion, even if it holds more input."""

    def proceed(self):
        reply = super().proceed()
        return CLOSE._replace(held=True) if len(self.asked) > 1 else reply


def test_held_input_is_dropped_when_the_session_ends_and_reading_continues():
    room = Room(Ending)
    room.conversation.received(b"x\n" * 35)
    room.turns.all()
    assert (room.wire.ended, room.reads, room.work.waiting) == ("closed", True, 0)


class Failing(Counting):
    def proceed(self):
        if self.asked:
            raise ZeroDivisionError
        return super().proceed()


def test_a_session_that_fails_later_is_reset_and_counted():
    room = Room(Failing)
    room.conversation.received(b"x\n" * 35)
    room.turns.all()
    assert room.wire.ended == "reset"
    room.conversation.lost(ConnectionDone())
    assert room.reasons == [Closing.FAILED]


class Noting(Quiet):
    """Sends the given replies, and records each arrival."""

    def __init__(self, *replies):
        self.replies = iter(replies)
        self.arrivals = []

    def received(self, data, arrival=PLAIN):
        self.arrivals.append(arrival)
        return next(self.replies)


def test_a_reply_has_the_type_of_its_message_unless_the_session_sets_it():
    session = Noting(
        Reply(b"as it came", more=iter([b"the rest"])),
        Reply(b"otherwise", text=False, more=iter([b"and its rest"])),
        Reply(b"again as it came"),
    )
    room = Room(lambda _work: session, replace(FACTS, shape=Shape.MESSAGE))
    for _ in range(3):
        room.conversation.received(b"x", Arrival(text=True))
    assert room.wire.texts == [True, True, False, False, True]
    room.conversation.perform(Reply(b"without a request"))
    room.conversation.perform(Reply(b"binary", text=False))
    assert room.wire.texts[5:] == [True, False]


def test_queued_pieces_keep_their_message_type():
    session = Noting(Reply(more=iter([b"1", b"2"])), Reply(b"3", text=False), Reply(more=iter([b"4"])))
    room = Room(lambda _work: session, replace(FACTS, shape=Shape.MESSAGE))
    room.conversation.stuck()
    for text in (True, True, False):
        room.conversation.received(b"x", Arrival(text=text))
    room.conversation.drained()
    assert (room.wire.sent, room.wire.texts) == (b"1234", [True, True, False, False])


def test_every_read_of_a_stream_has_the_same_arrival():
    session = Noting(Reply(b"1"), Reply(b"2"))
    room = Room(lambda _work: session)
    room.conversation.received(b"x")
    room.conversation.received(b"x")
    assert [arrival is PLAIN for arrival in session.arrivals] == [True, True]
    assert room.wire.texts == [None, None]
