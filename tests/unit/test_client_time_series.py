"""Latency over time: nothing is lost when intervals are merged, and their number is bounded."""

from hypothesis import given
from hypothesis import strategies as some

from echod.client.histogram import Histogram
from echod.client.time_series import DIGITS, TimeSeries

requests = some.lists(some.tuples(some.floats(0, 10**6), some.floats(0, 100) | some.none()), max_size=60)


@given(requests)
def test_every_request_is_in_an_interval_and_there_are_few(series):
    found = TimeSeries(0.001, most=7)
    for at, seconds in series:
        if seconds is None:
            found.lost(at)
        else:
            found.received(at, seconds)
    intervals = list(found)
    assert len(intervals) <= 7
    assert sum(interval.lost for _, interval in intervals) == sum(seconds is None for _, seconds in series)
    for start, interval in intervals:
        here = [seconds for at, seconds in series if start <= int(at * 1000) / 1000 < start + found.width]
        times = [round(seconds * 1e9) for seconds in here if seconds is not None]
        assert interval.times.total == len(times)
        assert interval.lost == len(here) - len(times)
        if times:
            assert (interval.times.minimum, interval.times.maximum) == (min(times), max(times))


def test_widths_are_round_numbers():
    found = TimeSeries(0.001, most=2)
    widths = []
    for second in (0.001, 0.002, 0.004, 0.02, 0.04, 0.2, 1.9):
        found.lost(second)
        widths.append(found.width)
    assert widths == [0.001, 0.002, 0.01, 0.02, 0.1, 0.2, 1]


def test_figures_are_those_of_each_interval():
    found = TimeSeries()
    found.received(0.5, 0.002)
    found.received(0.7, 0.004)
    found.lost(2.5)
    one, other = found.figures()["intervals"]
    assert found.figures()["interval_ms"] == 1000
    assert one == {
        "start_ms": 0,
        "received": 2,
        "lost": 0,
        "min_ms": 2.0,
        "p50_ms": 2.007039,
        "p99_ms": 4.0,
        "max_ms": 4.0,
    }
    assert other == {
        "start_ms": 2000,
        "received": 0,
        "lost": 1,
        "min_ms": None,
        "p50_ms": None,
        "p99_ms": None,
        "max_ms": None,
    }


def test_a_whole_interval_is_merged():
    times = Histogram(DIGITS)
    times.record(5_000_000, 3)
    found = TimeSeries()
    found.merge(1, times, lost=2)
    found.merge(1.5, times)
    [(start, interval)] = found
    assert (start, interval.times.total, interval.lost) == (1, 6, 2)
