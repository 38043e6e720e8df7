"""Lines are whole for any division of the input, and bounded."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from echod.gate.work_budget import WorkBudget
from echod.model import Context
from echod.services.line_buffer import BYTE_ORDER_MARK, LONGEST, MOST_HELD, LineHint, LineInput, Lines
from tests.turns import Turns


def cut(data, *reads, work=None):
    """The lines of these reads, the last one included; what a read only continues has no line of its own."""
    lines, given = Lines(), LineInput(Context(work=work or WorkBudget()), messages=False)
    found = []
    for read in reads or (data,):
        assert given.add(read)
        found += [(piece, lines.take(piece)) for piece in given.pieces()]
    found += [(piece, lines.take(piece)) for piece in given.rest()]
    assert not given.held
    return [*(line for piece, line in found if piece.endswith(b"\n") or line is None), lines.last()]


def without_empty(lines):
    """The end of a line that was too long is an empty one."""
    return [line for line in lines if line != b""]


def test_line_ends():
    assert cut(b"one\ntwo\r\n\nthree") == [b"one", b"two", b"", b"three"]
    assert cut(b"") == [b""]
    assert cut(b"a\rb\n") == [b"a\rb", b""]


def test_the_longest_line_and_one_byte_more():
    assert cut(b"x" * LONGEST + b"\r\n") == [b"x" * LONGEST, b""]
    assert cut(b"x" * LONGEST) == [b"x" * LONGEST]
    assert [line for line in cut(b"x" * (LONGEST + 1) + b"\nnext\n") if line != b""] == [None, b"next"]
    assert cut(b"x" * LONGEST + b"\ry\nnext") == [None, b"next"]


def test_an_endless_line_is_reported_once_and_dropped():
    lines = Lines()
    assert lines.take(b"x" * LONGEST) == b""
    told = [lines.take(b"x" * 65_536) for _ in range(1000)]
    assert told == [None] + [b""] * 999
    assert not lines._line
    assert lines.last() == b""


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"x" * 4000, b"y" * 97]), max_size=12), st.data())
def test_lines_do_not_depend_on_the_chunks(parts, draws):
    data = b"".join(parts)
    places = draws.draw(st.sets(st.integers(0, len(data))))
    at = sorted({0, len(data), *places})
    assert without_empty(cut(data, *(data[begin:end] for begin, end in pairwise(at)))) == without_empty(cut(data))
    assert all(line is None or (len(line) <= LONGEST and b"\n" not in line) for line in cut(data))


def parts(given):
    """How many pieces come now."""
    return len(list(given.pieces()))


def test_a_read_is_processed_in_portions():
    turns = Turns()
    work = WorkBudget(turns.later, portion=10, turn=15)
    one, other = LineInput(Context(work=work), messages=False), LineInput(Context(work=work), messages=False)
    assert one.add(b"\n" * 25)
    assert other.add(b"\n" * 25)
    assert (parts(one), parts(other), parts(one)) == (10, 5, 0)
    turns.turn()
    assert (parts(other), parts(one)) == (10, 5)
    turns.turn()
    assert (parts(one), parts(other)) == (10, 5)
    turns.turn()
    assert (one.held, other.held) == (False, True)
    assert (parts(one), parts(other)) == (0, 5)
    assert not other.held


def test_work_before_the_first_piece_is_not_counted():
    turns = Turns()
    given = LineInput(Context(work=WorkBudget(turns.later, portion=10, turn=10)), messages=False)
    given.spend(100)
    assert given.add(b"\n" * 10)
    assert parts(given) == 10


def test_at_the_end_one_more_portion_is_processed():
    turns = Turns()
    given = LineInput(Context(work=WorkBudget(turns.later, portion=10, turn=10)), messages=False)
    assert given.add(b"\n" * 25)
    assert parts(given) == 10
    assert len(list(given.rest())) == 10


def test_a_line_that_costs_more_leaves_less_of_the_portion():
    given = LineInput(Context(work=WorkBudget(Turns().later, portion=10, turn=100)), messages=False)
    assert given.add(b"\n" * 25)
    pieces = 0
    for _ in given.pieces():
        given.spend(4)
        pieces += 1
    assert pieces == 2


def test_datagrams_wait_for_their_portion_and_no_more_than_a_bound_of_them():
    turns = Turns()
    given = LineInput(Context(work=WorkBudget(turns.later, portion=10, turn=10)), messages=True)
    assert given.add(b"x")
    assert list(given.pieces()) == [b"x\n"]
    assert given.add(b"\n" * 60_000)
    assert parts(given) == 9
    assert given.add(b"y\n" * 2000)
    assert not given.add(b"z" * 2000)
    pieces = []
    while given.held:
        turns.turn()
        pieces += list(given.pieces())
        assert len(given._data) - given._at <= MOST_HELD
    assert pieces == [b"\n"] * (60_000 - 9) + [b"y\n"] * 2000
    assert given.add(b"z" * MOST_HELD)


def test_a_byte_order_mark_at_the_start_of_a_stream_is_removed_and_nowhere_else():
    text = BYTE_ORDER_MARK + b"/nick anna\n" + BYTE_ORDER_MARK + b"two\n"
    assert cut(text) == [b"/nick anna", BYTE_ORDER_MARK + b"two", b""]
    for size in range(1, 6):
        assert cut(text, *(text[at : at + size] for at in range(0, len(text), size))) == cut(text)
    for short in (BYTE_ORDER_MARK[:1], BYTE_ORDER_MARK[:2]):
        assert cut(short) == [short]
        assert cut(short, short, b"\n") == [short, b""]
    given = LineInput(Context(work=WorkBudget()), messages=True)
    for _ in range(2):  # each datagram has a start of its own
        assert given.add(BYTE_ORDER_MARK + b"one")
        assert list(given.pieces()) == [b"one\n"]


@given(st.binary(max_size=60), st.data())
def test_the_same_pieces_in_the_same_order_for_any_portions(data, draws):
    at = sorted({0, len(data), *draws.draw(st.sets(st.integers(0, len(data))))})
    turns = Turns()
    small = WorkBudget(turns.later, portion=draws.draw(st.integers(1, 5)), turn=draws.draw(st.integers(1, 5)))
    waits = LineInput(Context(work=small), messages=False)
    pieces = []
    for begin, end in pairwise(at):
        assert waits.add(data[begin:end])
        pieces += list(waits.pieces())
    while waits.held:
        turns.turn()
        pieces += list(waits.pieces())
    pieces += list(waits.rest())
    assert b"".join(pieces) == data.removeprefix(BYTE_ORDER_MARK)
    assert all(b"\n" not in piece[:-1] for piece in pieces)


def test_a_line_that_waits_a_second_for_its_end_is_reported_once():
    clock, told, waits = Clock(), [], [False]
    hint = LineHint(Context(clock=clock.seconds, later=clock.callLater), lambda: waits[0], lambda: told.append(True))
    hint.check()
    assert not clock.getDelayedCalls()
    waits[0] = True
    hint.check()
    clock.advance(0.9)
    assert told == []
    waits[0] = False  # it has come
    hint.check()
    waits[0] = True
    hint.check()
    clock.advance(0.2)
    assert told == [], "the second line has waited for 0.2 s"
    clock.advance(0.9)
    assert told == [True]
    hint.check()
    assert not clock.getDelayedCalls()


def test_no_hint_without_a_timer():
    told = []
    hint = LineHint(Context(clock=lambda: 5.0), lambda: True, lambda: told.append(True))
    hint.check()
    assert told == []


def test_long_lines_cost_more():
    given = LineInput(Context(work=WorkBudget(Turns().later, portion=10, turn=100)), messages=False)
    assert given.add((b"x" * 319 + b"\n") * 5)
    assert parts(given) == 2  # 1 + 5 units each


def test_held_data_counts_in_the_send_budget():
    turns = Turns()
    context = Context(work=WorkBudget(turns.later, portion=10, turn=10))
    budget = context.send_budget.budget
    given = LineInput(context, messages=False)
    assert given.add(b"\n" * 25)
    assert (parts(given), budget.total) == (10, 25)
    turns.turn()
    assert (parts(given), budget.total) == (10, 25)
    turns.turn()
    assert (parts(given), budget.total, given._data) == (5, 0, b"")
    assert given.add(b"\n" * 25)
    assert parts(given) == 5
    assert budget.total == 25
    given.close()
    assert (given.held, budget.total) == (False, 0)
