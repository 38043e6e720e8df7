"""When the messages of a load are due."""

import math

from hypothesis import given
from hypothesis import strategies as st

from echod.client.load.pacing import SECOND, Backoff, Pace

BEGIN = 5 * SECOND


def begun(rate: float | None, count: int | None = None, seconds: float | None = None) -> Pace:
    pace = Pace(rate, count, seconds)
    pace.begin(BEGIN)
    return pace


@given(st.floats(0.01, 1e6), st.integers(0, 10**6))
def test_a_message_is_due_at_its_planned_time_and_not_before(rate: float, number: int) -> None:
    pace = begun(rate)
    pace.issued = number
    planned = pace.planned(number)
    assert pace.next(BEGIN) == planned
    assert pace.due(planned + 2) >= 1  # both are rounded to nanoseconds
    assert number == 0 or pace.due(planned - 2 - round(1e-6 * SECOND / rate)) <= 0


@given(st.floats(1, 1e5), st.lists(st.integers(1, 50_000_000), max_size=50))
def test_planned_times_do_not_depend_on_when_messages_are_sent(rate: float, pauses: list[int]) -> None:
    pace, now, times = begun(rate), BEGIN, []
    for pause in pauses:
        now += pause
        if (due := min(pace.due(now), 1000)) > 0:
            times += pace.issue(due)
    assert times == [BEGIN + round(number * SECOND / rate) for number in range(len(times))]
    assert all(time <= now + 1 for time in times)


def test_a_stop_of_the_sender_is_made_up_for_with_the_planned_times() -> None:
    pace = begun(1000)
    assert pace.due(BEGIN) == 1
    pace.issue(1)
    late = BEGIN + SECOND // 10
    assert pace.due(late) == 100
    assert [late - planned for planned in pace.issue(100)] == [step * SECOND // 1000 for step in range(99, -1, -1)]


def test_a_closed_loop_counts_from_the_time_of_sending() -> None:
    pace = begun(None, count=5, seconds=10)
    assert pace.take(3, 77) == [77, 77, 77]
    assert (pace.take(0, 78), pace.unsent(BEGIN), pace.next(BEGIN)) == ([], 0, math.inf)
    assert pace.take(3, 78) == [78, 78]
    assert pace.over(BEGIN)
    assert pace.take(3, 79) == []
    assert begun(None, seconds=1).take(3, BEGIN + SECOND) == []


def test_the_end_of_the_time_ends_sending_and_the_rest_is_reported() -> None:
    pace = begun(1000, seconds=2)
    pace.issue(1500)
    assert not pace.over(BEGIN + 2 * SECOND - 1)
    assert pace.over(BEGIN + 2 * SECOND)
    assert pace.due(BEGIN + 3 * SECOND) == pace.unsent(BEGIN + 3 * SECOND) == 500
    assert pace.unsent(BEGIN + SECOND) == 0


def test_a_count_bounds_what_is_due_and_what_is_unsent() -> None:
    pace = begun(1000, count=10, seconds=2)
    assert pace.due(BEGIN + SECOND) == 10
    assert pace.unsent(BEGIN + SECOND) == 10
    pace.issue(10)
    assert (pace.over(BEGIN), pace.next(BEGIN)) == (True, math.inf)


def test_no_message_is_planned_for_the_end() -> None:
    pace = begun(1, seconds=2)
    pace.issue(1)
    assert pace.next(BEGIN) == BEGIN + SECOND
    pace.issue(1)
    assert pace.next(BEGIN) == math.inf
    assert pace.unsent(BEGIN + 9 * SECOND) == 0


def test_the_share_is_that_of_the_count_or_of_the_time() -> None:
    pace = begun(None, count=10, seconds=4)
    pace.take(3, BEGIN)
    assert pace.share(BEGIN + SECOND) == 0.3
    assert pace.share(BEGIN + 3 * SECOND) == 0.75
    assert pace.share(BEGIN + 5 * SECOND) == 1
    assert begun(None, count=10).share(BEGIN + SECOND) == 0


def test_pauses_double_up_to_a_second_and_begin_again_after_a_success() -> None:
    backoff = Backoff()
    assert [backoff.pause() for _ in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.reset()
    assert backoff.pause() == 0.05
