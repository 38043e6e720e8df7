"""Delays by direction: offset and drift of the clocks, and when the delays mean nothing."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.client.directions import SHORTEST_DRIFT, Directions, SignedTimes
from echod.measurement.timestamps import error_estimate, ntp, ptp

NOW = 1_800_000_000_000_000_000
MS = 1_000_000
GOOD = error_estimate(0.0001, synchronized=True).word


def add(directions, at_ms=0.0, forward=10.0, backward=20.0, processing=1.0, offset=0.0, drift=0.0, estimate=GOOD):
    """A reply of a path with these delays in milliseconds, by a clock that is ahead by `offset`."""
    t1 = NOW + round(at_ms * MS)
    ahead = offset + drift * at_ms
    t2 = t1 + round((forward + ahead) * MS)
    t3 = t2 + round(processing * MS)
    t4 = t1 + round((forward + processing + backward) * MS)
    return directions.add(t1, t4, ntp(t2), ntp(t3), estimate)


def test_the_delays_of_each_direction_and_of_the_reflector():
    directions = Directions()
    one = add(directions)
    assert one == pytest.approx((0.010, 0.020, 0.001))
    assert directions.forward.figures()["avg_ms"] == pytest.approx(10)
    assert directions.backward.figures()["median_ms"] == pytest.approx(20)
    assert directions.processing.mean == pytest.approx(0.001)


def test_ptp_timestamps_are_told_by_their_error_estimate():
    directions = Directions()
    estimate = error_estimate(0.0001, synchronized=True, is_ptp=True).word
    one = directions.add(NOW, NOW + 31 * MS, ptp(NOW + 10 * MS), ptp(NOW + 11 * MS), estimate)
    assert one == pytest.approx((0.010, 0.020, 0.001))


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(0.001, 100), st.floats(0.001, 100))
def test_the_offset_is_within_its_uncertainty(offset, forward, backward):
    directions = Directions()
    add(directions, forward=forward, backward=backward, offset=offset)
    add(directions, forward=forward * 3, backward=backward, offset=offset)  # a queue; the faster probe counts
    found = directions.offset
    assert abs(found.seconds * 1000 - offset) <= found.uncertainty * 1000 + 1e-3
    assert found.uncertainty * 1000 == pytest.approx((forward + backward) / 2, abs=1e-3)


def test_the_drift_needs_ten_seconds():
    directions = Directions()
    for second in range(10):
        add(directions, at_ms=second * 1000, drift=0.001)
        assert directions.drift is None
    for second in range(10, 40):
        add(directions, at_ms=second * 1000, drift=0.001)
        add(directions, at_ms=second * 1000 + 500, drift=0.001, forward=50)  # queues do not disturb it
    assert directions.drift == pytest.approx(0.001, rel=0.01)


def test_the_drift_of_a_long_measurement_needs_bounded_memory():
    directions = Directions()
    for second in range(5000):
        add(directions, at_ms=second * 1000, drift=-0.0001)
    assert len(directions._windows) <= 256
    assert directions.drift == pytest.approx(-0.0001, rel=0.01)


def test_delays_that_mean_nothing_are_doubted():
    def doubts(here=True, **reply):
        directions = Directions()
        add(directions, **reply)
        return directions.doubts(here_synchronized=here)

    assert doubts() == ""
    assert "negative" in doubts(offset=-11)
    assert "negative" in doubts(offset=21)
    assert doubts(forward=0.0, backward=30.0, offset=30.5) != ""
    assert "this machine's clock" in doubts(here=False)
    assert "the reflector's clock" in doubts(estimate=error_estimate(1, synchronized=False).word)
    assert "the reflector's clock" in doubts(estimate=GOOD & 0xFF00)  # a Multiplier of 0
    assert SHORTEST_DRIFT == 10


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=50))
def test_statistics_of_numbers_of_both_signs(numbers):
    times = SignedTimes()
    for number in numbers:
        times.add(number / 1000)
    ordered = sorted(numbers)
    found = times.figures()
    assert (found["min_ms"], found["max_ms"]) == (ordered[0], ordered[-1])
    assert found["avg_ms"] == pytest.approx(sum(numbers) / len(numbers), abs=1e-6)
    assert ordered[0] - 1e-6 <= found["median_ms"] <= ordered[-1] + 1e-6
    steps = [abs(a - b) for a, b in pairwise(numbers)]
    assert found["jitter_ms"] == pytest.approx(sum(steps) / len(steps) if steps else 0, abs=1e-6)


def test_no_numbers_have_no_statistics():
    assert set(SignedTimes().figures().values()) == {None}
