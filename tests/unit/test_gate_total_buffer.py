"""The send budget: one sum for all connections, and watermarks on it."""

from hypothesis import given
from hypothesis import strategies as st

from echod.gate.total_buffer import RELIEVED, Pressure, SendBudget

LIMIT = 1000


def test_a_subscriber_gets_the_current_pressure_and_each_change():
    unsent = SendBudget()
    mark = unsent.mark(LIMIT)
    heard: list[Pressure] = []
    mark.join(heard.append)
    for by in (500, 1, 499, 1, 5000, -5126, -1, -438, -1):
        unsent.change(by)
    assert heard == [Pressure.NONE, Pressure.HALF, Pressure.FULL, Pressure.HALF, Pressure.NONE]
    unsent.change(5000)
    assert heard[-1] is Pressure.FULL
    mark.leave(heard.append)
    late: list[Pressure] = []
    mark.join(late.append)
    assert late == [Pressure.FULL]


def test_pressure_falls_an_eighth_below_the_mark():
    """Otherwise a connection at the mark would notify all subscribers again and again."""
    unsent = SendBudget()
    heard: list[Pressure] = []
    unsent.mark(LIMIT).join(heard.append)
    unsent.change(LIMIT + 1)
    for by, falls_to in ((-126, None), (-1, Pressure.HALF), (-436, None), (-1, Pressure.NONE)):
        heard.clear()
        unsent.change(by)
        assert heard == ([] if falls_to is None else [falls_to]), unsent.total


def test_a_limit_has_one_mark_and_is_reported_once():
    told: list[tuple[int, bool]] = []
    unsent = SendBudget(lambda name, limit: told.append((limit, name == "reading.paused")))
    assert unsent.mark(LIMIT) is unsent.mark(LIMIT)
    assert unsent.mark(10) is not unsent.mark(LIMIT)
    unsent.mark(20)  # a limit without subscribers
    for limit in (10, LIMIT):
        unsent.mark(limit).join(lambda _pressure: None)
    unsent.change(600)
    assert told == [(10, True)]
    unsent.change(600)
    unsent.change(1)
    assert told == [(10, True), (LIMIT, True)]
    unsent.change(-1201)
    assert sorted(told[2:]) == [(10, False), (LIMIT, False)]


def test_a_new_mark_has_the_current_pressure():
    unsent = SendBudget()
    unsent.change(LIMIT + 1)
    assert unsent.mark(LIMIT).pressure is Pressure.FULL


@given(st.lists(st.integers(-3 * LIMIT, 3 * LIMIT)), st.lists(st.integers(1, 2 * LIMIT), min_size=1))
def test_the_pressure_depends_on_the_sum_only(changes, limits):
    """Above a limit the pressure is full, below RELIEVED of it the pressure is lower; the same for half the limit."""
    unsent = SendBudget()
    for limit in limits:
        unsent.mark(limit)
    for by in changes:
        unsent.change(by)
        for limit in limits:
            pressure = unsent.mark(limit).pressure
            for bound, of in ((limit, Pressure.FULL), (limit / 2, Pressure.HALF)):
                if unsent.total > bound:
                    assert pressure >= of
                elif unsent.total < bound * RELIEVED:
                    assert pressure < of
    assert unsent.total == sum(changes)


def test_only_counters_that_are_not_0_are_figures():
    unsent = SendBudget()
    assert unsent.figures() == {}
    unsent.miss(3)
    assert unsent.figures() == {"missed": 3}
    unsent.end_reader()
    assert unsent.figures() == {"missed": 3, "readers_ended": 1}
