"""Statistics of times, compared with the standard library: exact while all times are kept, approximate beyond."""

import statistics
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.client.statistics import Times

seconds = st.floats(0, 3600)
several = st.lists(seconds, min_size=2, max_size=200)


def times_of(series: list[float], kept: int = 1000) -> Times:
    times = Times(kept)
    for value in series:
        times.add(value)
    return times


class Exact(SynchronousTestCase):
    def near(self, ours: float, theirs: float) -> None:
        self.assertLessEqual(abs(ours - theirs), 1e-9 * max(1.0, theirs))

    @given(several)
    def test_figures_are_those_of_the_standard_library(self, series: list[float]) -> None:
        times = times_of(series)
        self.assertTrue(times.exact)
        self.assertEqual((times.count, times.minimum, times.maximum), (len(series), min(series), max(series)))
        self.near(times.mean, statistics.fmean(series))
        self.near(times.deviation, statistics.pstdev(series))
        self.near(times.quantile(0.5), statistics.median(series))

    @given(several)
    def test_percentiles_are_those_of_the_standard_library(self, series: list[float]) -> None:
        times = times_of(series)
        for percent, theirs in enumerate(statistics.quantiles(series, n=100, method="inclusive"), 1):
            self.near(times.quantile(percent / 100), theirs)

    @given(several)
    def test_jitter_is_the_mean_step(self, series: list[float]) -> None:
        steps = [abs(later - earlier) for earlier, later in pairwise(series)]
        self.near(times_of(series).jitter, statistics.fmean(steps))

    @given(seconds)
    def test_of_one_time(self, value: float) -> None:
        times = times_of([value])
        for figure in (times.minimum, times.maximum, times.mean, times.quantile(0.5), times.quantile(0.99)):
            self.assertEqual(figure, value)
        self.assertEqual((times.deviation, times.jitter), (0, 0))

    def test_small_differences_between_long_times_are_not_lost(self) -> None:
        series = [1e6 + step / 1000 for step in range(1000)]
        self.assertLess(abs(times_of(series).deviation - statistics.pstdev(series)), 1e-6)


class Counted(SynchronousTestCase):
    @given(st.lists(seconds, min_size=20, max_size=200), st.floats(0, 1))
    def test_quantiles_are_close(self, series: list[float], fraction: float) -> None:
        exact, counted = times_of(series), times_of(series, kept=10)
        self.assertFalse(counted.exact)
        right = exact.quantile(fraction)
        self.assertLessEqual(abs(counted.quantile(fraction) - right), 0.0005 * right + 1e-9)

    @given(st.lists(seconds, min_size=20, max_size=200))
    def test_everything_else_stays_exact(self, series: list[float]) -> None:
        exact, counted = times_of(series), times_of(series, kept=10)
        for name in ("count", "minimum", "maximum", "mean", "deviation", "jitter"):
            self.assertEqual(getattr(counted, name), getattr(exact, name))

    @given(st.lists(seconds, min_size=20, max_size=50))
    def test_no_quantile_is_beyond_the_measured_times(self, series: list[float]) -> None:
        times = times_of(series, kept=10)
        for fraction in (0.0, 0.01, 0.5, 0.99, 1.0):
            self.assertTrue(times.minimum <= times.quantile(fraction) <= times.maximum)

    @given(st.lists(seconds, min_size=1, max_size=50))
    def test_the_histogram_does_not_depend_on_how_many_times_were_kept(self, series: list[float]) -> None:
        exact, counted = times_of(series).histogram(), times_of(series, kept=5).histogram()
        self.assertEqual(list(exact.buckets()), list(counted.buckets()))

    def test_memory_stays_small(self) -> None:
        times = Times(kept=100)
        for number in range(20_000):
            times.add(0.0001 + number * 1e-6)
        self.assertEqual(len(times._kept), 0)
        self.assertLess(len(list(times.histogram().buckets())), 9000)
