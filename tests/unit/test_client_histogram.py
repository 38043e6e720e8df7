"""The histogram, compared with the values that were recorded, and its percentile format with HdrHistogram's."""

import math

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.client.histogram import HIGHEST, Histogram, percentile_text

values = st.integers(0, HIGHEST)
series_of = st.lists(values, min_size=1, max_size=100)
digits_of = st.sampled_from([1, 2, 3])
RELATIVE = {1: 1 / 16, 2: 1 / 128, 3: 1 / 1024}


def recorded(series: list[int], digits: int = 3) -> Histogram:
    histogram = Histogram(digits)
    for value in series:
        histogram.record(value)
    return histogram


class Recorded(SynchronousTestCase):
    @given(values, digits_of)
    def test_a_bucket_contains_its_value_and_is_narrow(self, value: int, digits: int) -> None:
        [(lowest, highest, count)] = recorded([value], digits).buckets()
        self.assertTrue(lowest <= value <= highest)
        self.assertLessEqual(highest - lowest, value * RELATIVE[digits])
        self.assertEqual(count, 1)

    @given(series_of, digits_of)
    def test_buckets_ascend_do_not_overlap_and_have_all_values(self, series: list[int], digits: int) -> None:
        buckets = list(recorded(series, digits).buckets())
        edges = [edge for lowest, highest, _ in buckets for edge in (lowest, highest + 1)]
        self.assertEqual(edges, sorted(edges))
        for lowest, highest, count in buckets:
            self.assertEqual(count, sum(lowest <= value <= highest for value in series))
        self.assertEqual(sum(count for _, _, count in buckets), len(series))

    @given(series_of)
    def test_total_minimum_and_maximum_are_exact(self, series: list[int]) -> None:
        histogram = recorded(series)
        found = (histogram.total, histogram.minimum, histogram.maximum)
        self.assertEqual(found, (len(series), min(series), max(series)))

    @given(series_of, st.floats(0, 1), digits_of)
    def test_a_percentile_is_a_recorded_value_or_just_above(self, series: list[int], share: float, digits: int) -> None:
        rank = max(1, math.ceil(math.nextafter(share, 0) * len(series)))
        right = sorted(series)[rank - 1]
        found = recorded(series, digits).percentile(share)
        self.assertTrue(right <= found <= right * (1 + RELATIVE[digits]))

    def test_rounding_of_the_fraction_moves_no_percentile(self) -> None:
        self.assertEqual(recorded(list(range(1, 101))).percentile(0.29), 29)  # 0.29 * 100 is 28.999999999999996
        self.assertEqual(recorded(list(range(1, 101))).percentile(0.07), 7)  # 0.07 * 100 is 7.000000000000001

    @given(series_of, st.data())
    def test_a_rank_gives_its_value(self, series: list[int], data: st.DataObject) -> None:
        rank = data.draw(st.integers(0, len(series) - 1))
        right = sorted(series)[rank]
        self.assertLessEqual(abs(recorded(series).at_rank(rank) - right), right / 2048)

    @given(series_of)
    def test_mean_and_deviation_are_close(self, series: list[int]) -> None:
        histogram = recorded(series)
        mean = sum(series) / len(series)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in series) / len(series))
        self.assertLessEqual(abs(histogram.mean - mean), 0.0006 * mean)
        self.assertLessEqual(abs(histogram.deviation - deviation), 0.0006 * max(series))

    def test_values_out_of_range_are_counted_at_its_ends(self) -> None:
        histogram = recorded([-5, HIGHEST * 8])
        self.assertEqual((histogram.minimum, histogram.maximum, histogram.total), (0, HIGHEST, 2))

    def test_without_values(self) -> None:
        histogram = Histogram()
        self.assertEqual((histogram.total, histogram.percentile(0.5), histogram.mean), (0, 0, 0))
        self.assertEqual((histogram.deviation, histogram.at_rank(0)), (0, 0))
        self.assertEqual((list(histogram.buckets()), list(histogram.percentiles())), ([], []))

    def test_the_number_of_buckets_is_bounded(self) -> None:
        for digits, most in ((1, 800), (2, 6_016)):
            value = count = 0
            while value <= HIGHEST:
                [(_, highest, _)] = recorded([value], digits).buckets()
                value, count = highest + 1, count + 1
            self.assertEqual(count, most)


class Merged(SynchronousTestCase):
    @given(st.lists(values, max_size=50), st.lists(values, max_size=50), digits_of)
    def test_a_merged_histogram_is_that_of_all_values(self, one: list[int], other: list[int], digits: int) -> None:
        merged, whole = recorded(one, digits), recorded(one + other, digits)
        merged.merge(recorded(other, digits))
        self.assertEqual(list(merged.buckets()), list(whole.buckets()))
        self.assertEqual((merged.total, merged.minimum, merged.maximum), (whole.total, whole.minimum, whole.maximum))

    def test_other_digits_are_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "a histogram of 2 digits does not fit one of 3 digits"):
            recorded([1]).merge(recorded([1], 2))

    @given(values, st.integers(1, 1000))
    def test_a_count_is_as_many_records(self, value: int, count: int) -> None:
        histogram = Histogram()
        histogram.record(value, count)
        self.assertEqual(list(histogram.buckets()), [(*next(recorded([value]).buckets())[:2], count)])
        self.assertEqual(histogram.total, count)


class Percentiles(SynchronousTestCase):
    @given(st.lists(values, min_size=1, max_size=300))
    def test_lines_ascend_to_one_hundred_percent(self, series: list[int]) -> None:
        lines = list(recorded(series).percentiles())
        for column in zip(*lines, strict=True):
            self.assertEqual(list(column), sorted(column))
        self.assertEqual(lines[-1], (max(series), 1.0, len(series)))
        for value, fraction, reached in lines:
            self.assertGreaterEqual(reached, fraction * len(series))
            self.assertEqual(sum(each <= value for each in series), reached)

    def test_is_what_hdrhistogram_writes(self) -> None:
        """The expected text is the output of hdr-histogram-js 3, a port by the same project, for the same values."""
        self.assertEqual(percentile_text(recorded(SERIES), 1000), EXPECTED)

    def test_without_values_it_has_no_lines(self) -> None:
        lines = percentile_text(Histogram()).splitlines()
        self.assertEqual(len(lines), 5)
        self.assertIn("Total count    =            0]", lines[3])


SERIES = [step**3 % 1009 for step in range(1, 41)]
EXPECTED = """\
       Value     Percentile TotalCount 1/(1-Percentile)

       0.001 0.000000000000          1           1.00
       0.059 0.100000000000          4           1.11
       0.173 0.200000000000          8           1.25
       0.216 0.300000000000         12           1.43
       0.348 0.400000000000         16           1.67
       0.480 0.500000000000         20           2.00
       0.497 0.550000000000         22           2.22
       0.512 0.600000000000         24           2.50
       0.558 0.650000000000         26           2.86
       0.707 0.700000000000         28           3.33
       0.726 0.750000000000         30           4.00
       0.729 0.775000000000         31           4.44
       0.763 0.800000000000         32           5.00
       0.766 0.825000000000         33           5.71
       0.787 0.850000000000         34           6.67
       0.797 0.875000000000         35           8.00
       0.805 0.887500000000         36           8.89
       0.805 0.900000000000         36          10.00
       0.877 0.912500000000         37          11.43
       0.877 0.925000000000         37          13.33
       0.937 0.937500000000         38          16.00
       0.937 0.943750000000         38          17.78
       0.937 0.950000000000         38          20.00
       0.962 0.956250000000         39          22.86
       0.962 0.962500000000         39          26.67
       0.962 0.968750000000         39          32.00
       0.962 0.971875000000         39          35.56
       0.962 0.975000000000         39          40.00
       1.000 0.978125000000         40          45.71
       1.000 1.000000000000         40
#[Mean    =        0.464, StdDeviation   =        0.294]
#[Max     =        1.000, Total count    =           40]
#[Buckets =           43, SubBuckets     =         2048]
"""
