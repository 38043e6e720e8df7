"""The outbox: as fast as its reader, bounded, and honest about what is missing."""

from hypothesis import given
from hypothesis import strategies as st

from echod.model import NOTHING
from echod.services.outbox import OVERHEAD, PIECE, WAITING, Outbox


class Reader:
    """A transport that takes so much at a time, as a Conversation does."""

    def __init__(self, joined=True):
        self.outbox = Outbox(self.say, lambda count: b"-- %d missing\n" % count, joined=joined)
        self.more = None
        self.heard = []

    def say(self, reply):
        assert self.more is None, "one flow at a time"
        self.more = reply.more

    def take(self, pieces=1 << 30):
        while self.more is not None and pieces:
            piece = next(self.more, None)
            if piece is None:
                self.more = None
            else:
                self.heard.append(piece)
                pieces -= 1


def test_lines_go_out_in_order_and_together():
    reader = Reader()
    for number in range(3):
        reader.outbox.put(b"%d\n" % number)
    reader.outbox.flow()
    reader.outbox.flow()
    reader.take()
    assert reader.heard == [b"0\n1\n2\n"]
    reader.outbox.flow()
    assert reader.more is None


def test_each_line_is_a_datagram_of_its_own():
    reader = Reader(joined=False)
    for number in range(3):
        reader.outbox.put(b"%d\n" % number)
    reader.outbox.flow()
    reader.take()
    assert reader.heard == [b"0\n", b"1\n", b"2\n"]


def test_what_waits_is_the_answer_where_one_is_asked_for():
    reader = Reader()
    assert reader.outbox.reply() is NOTHING
    reader.outbox.put(b"one\n")
    assert b"".join(reader.outbox.reply().more or ()) == b"one\n"
    reader.outbox.put(b"two\n")
    reader.outbox.flow()
    assert reader.outbox.reply() is NOTHING  # it flows already
    reader.take()
    assert reader.heard == [b"two\n"]


def test_the_oldest_lines_give_way_and_are_counted():
    reader = Reader()
    line = b"x" * 936
    most = WAITING // (len(line) + OVERHEAD)
    for _ in range(most + 5):
        reader.outbox.put(line)
    reader.outbox.flow()
    reader.take()
    whole = b"".join(reader.heard)
    assert whole.startswith(b"-- 5 missing\n" + line)
    assert whole.count(line) == most
    assert all(len(piece) <= PIECE for piece in reader.heard)


@given(st.lists(st.one_of(st.integers(1, 90_000), st.just("flow"), st.just("take")), max_size=60), st.booleans())
def test_nothing_is_lost_uncounted_and_never_more_than_the_bound_waits(steps, joined):
    reader = Reader(joined)
    put = 0
    for step in steps:
        if step == "flow":
            if reader.more is None:
                reader.outbox.flow()
        elif step == "take":
            reader.take(1)
        else:
            reader.outbox.put(b"%08d" % put + b"x" * step + b"\n")
            put += 1
        assert reader.outbox._octets <= WAITING
    reader.take()
    reader.outbox.flow()
    reader.take()
    heard = b"".join(reader.heard).splitlines()
    numbers = [int(line[:8]) for line in heard if not line.startswith(b"--")]
    missing = sum(int(line.split()[1]) for line in heard if line.startswith(b"--"))
    assert numbers == sorted(numbers)
    assert len(numbers) + missing == put
