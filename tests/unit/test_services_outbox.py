"""The outbox: as fast as its reader, bounded, and with a count of dropped lines."""

from hypothesis import given
from hypothesis import strategies as st

from echod.gate.total_buffer import LITTLE, SendBudget
from echod.model import NOTHING, Context, End
from echod.services.outbox import BEHIND, OVERHEAD, PIECE, WAITING, ReplyOutbox
from echod.services.outbox_delivery import Delivery, MemberOutbox


class Reader:
    """A transport that takes so much at a time, as a Conversation does."""

    def __init__(self, joined=True, total=1 << 28, budget=None):
        self.now = 0.0
        self.budget = budget or SendBudget()
        context = Context(clock=lambda: self.now, send_budget=self.budget.mark(total))
        self.outbox = ReplyOutbox(context, self.say, lambda count: b"-- %d missing\n" % count, joined=joined)
        self.more = None
        self.heard = []
        self.ended = End.NOTHING

    def say(self, reply):
        if reply.end is not End.NOTHING:
            self.ended = reply.end
            return
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


def test_pending_lines_are_the_reply_to_a_request():
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
        assert reader.outbox.waiting <= WAITING
        assert reader.budget.total == reader.outbox.waiting
    reader.take()
    reader.outbox.flow()
    reader.take()
    heard = b"".join(reader.heard).splitlines()
    numbers = [int(line[:8]) for line in heard if not line.startswith(b"--")]
    missing = sum(int(line.split()[1]) for line in heard if line.startswith(b"--"))
    assert numbers == sorted(numbers)
    assert len(numbers) + missing == put
    assert reader.budget.missed == missing
    assert reader.budget.total == 0


def test_the_send_budget_counts_pending_bytes_until_they_are_sent():
    budget = SendBudget()
    readers = [Reader(budget=budget) for _ in range(3)]
    for reader in readers:
        reader.outbox.put(b"x" * 936)
    assert budget.total == 3000
    readers[0].outbox.flow()
    readers[0].take()
    assert budget.total == 2000
    for reader in readers:
        reader.outbox.close()
        reader.outbox.put(b"it is closed")
    assert budget.total == 0


def test_above_the_budget_each_outbox_holds_less_and_the_sum_is_bounded():
    """Readers that take nothing: their transports have begun to pull, and stopped."""
    budget, total, count = SendBudget(), 1 << 20, 50
    readers = [Reader(budget=budget, total=total) for _ in range(count)]
    for reader in readers:
        reader.outbox.put(b"first")
        reader.outbox.flow()
        reader.take(1)
    for number in range(5000):
        for reader in readers:
            reader.outbox.put(b"%0100d" % number)
        assert budget.total <= total + count * LITTLE
    assert budget.missed > 0


def test_a_reader_that_reads_everything_gets_large_lines_above_the_budget():
    budget = SendBudget()
    budget.change(2_000_000)
    reader = Reader(budget=budget, total=1_000_000)
    for _ in range(10):
        reader.outbox.put(b"x" * 3 * LITTLE)
        reader.outbox.flow()
        reader.take()
    assert b"".join(reader.heard) == b"x" * 30 * LITTLE
    assert budget.missed == 0


def test_a_reader_that_stays_behind_is_reset_and_counted_once():
    reader = Reader()
    line = b"x" * 65_536
    for number in range(200):
        reader.now = float(number)
        reader.outbox.put(line)
        reader.outbox.flow() if reader.more is None else reader.take(1 if number % 20 == 0 else 0)
    assert reader.ended is End.RESET
    assert reader.budget.ended == 1
    assert reader.budget.total == reader.outbox.waiting == 0


def test_a_reader_that_catches_up_is_not_ended():
    reader = Reader()
    for number in range(10):
        reader.now = number * BEHIND
        for _ in range(10):
            reader.outbox.put(b"x" * 65_536)
        reader.outbox.flow()
        reader.take()
    assert reader.ended is End.NOTHING
    assert reader.budget.missed == 10 * 7


def test_a_closed_outbox_keeps_no_lines():
    reader = Reader()
    reader.outbox.put_all([b"one\n", b"two\n"])
    assert reader.outbox.waiting == reader.budget.total == 8 + 2 * OVERHEAD
    reader.outbox.close()
    reader.outbox.put_all([b"three\n"])
    assert reader.outbox.waiting == reader.budget.total == 0


def test_a_delivery_gets_no_closed_outbox():
    delivery = Delivery(Context(later=lambda _seconds, _call: None))
    outbox = MemberOutbox(Context(), lambda _reply: None, lambda _count: b"", delivery, joined=True)
    outbox.put(b"one\n")
    assert list(delivery.waiting) == [outbox]
    delivery.remove(outbox)
    outbox.close()
    outbox.put(b"two\n")
    outbox.put_all([b"three\n"])
    assert not delivery.waiting
