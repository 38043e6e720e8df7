"""A histogram of durations with a bounded relative error, in bounded memory. Pure.

The buckets are those of HdrHistogram (https://hdrhistogram.github.io/HdrHistogram/): log-linear, so that each value has
the same number of significant digits. `percentile_text` writes its percentile format, `.hgrm`, which its plotter reads.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

HIGHEST: Final = 2**53 - 1  #: nanoseconds, 104 days: longer durations are counted as this one, which bounds the buckets
TICKS: Final = 5  #: lines of `.hgrm` while the distance to 100 % halves, as HdrHistogram writes by default
_BITS: Final = {1: 5, 2: 8, 3: 11}  # binary digits that select the bucket of a value, by significant decimal digits


class Histogram:
    """Counts of durations in nanoseconds, 0 or more.

    `digits` is the number of significant decimal digits (1–3). A bucket is at most 1/16, 1/128 or 1/1024 of its values
    wide, and there are at most 800, 6,016 or 45,056 buckets. Values below 32, 256 or 2,048 ns are exact.
    """

    __slots__ = ("_bits", "_counts", "digits", "maximum", "minimum", "total")

    def __init__(self, digits: int = 3) -> None:
        self.digits = digits
        self.total = 0  #: number of values
        self.minimum = HIGHEST  #: the shortest value, exactly; HIGHEST without values
        self.maximum = 0  #: the longest value, exactly; 0 without values
        self._bits = _BITS[digits]
        self._counts: defaultdict[int, int] = defaultdict(int)  # by bucket; buckets ascend with values

    def record(self, nanoseconds: int, count: int = 1) -> None:
        """Add a value `count` times, in constant time. A negative value counts as 0."""
        if not 0 <= nanoseconds <= HIGHEST:
            nanoseconds = min(max(nanoseconds, 0), HIGHEST)
        shift = nanoseconds.bit_length() - self._bits
        bucket = nanoseconds if shift <= 0 else (shift << self._bits - 1) + (nanoseconds >> shift)
        self._counts[bucket] += count
        self.total += count
        if not self.minimum <= nanoseconds <= self.maximum:  # min() and max() take longer than all of the above
            self.minimum, self.maximum = min(self.minimum, nanoseconds), max(self.maximum, nanoseconds)

    def merge(self, other: Histogram) -> None:
        """Add all values of another histogram. Raises ValueError if it has another number of digits."""
        if other.digits != self.digits:
            raise ValueError(f"a histogram of {other.digits} digits does not fit one of {self.digits} digits")
        for bucket, count in other._counts.items():
            self._counts[bucket] += count
        self.total += other.total
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    def buckets(self) -> Iterator[tuple[int, int, int]]:
        """The lowest and the highest value of each bucket that is not empty, and its count, in ascending order."""
        for bucket, count in sorted(self._counts.items()):
            shift = max(0, (bucket >> self._bits - 1) - 1)
            leading = bucket - (shift << self._bits - 1)
            yield leading << shift, (leading + 1 << shift) - 1, count

    def percentile(self, fraction: float) -> int:
        """The value that a fraction (0–1) of all values do not exceed, in nanoseconds. Without values it is 0.

        It is the highest value of its bucket, or the maximum if that is lower, as in HdrHistogram.
        """
        wanted = max(1, math.ceil(math.nextafter(fraction, 0) * self.total))  # 0.29 * 100 is above 29
        return next((highest for highest, reached in self._cumulative() if reached >= wanted), self.maximum)

    def at_rank(self, rank: int) -> float:
        """The value at a rank from 0 to total - 1 in ascending order: the middle of its bucket, in nanoseconds."""
        for lowest, highest, count in self.buckets():
            if rank < count:
                return min(max((lowest + highest) / 2, self.minimum), self.maximum)
            rank -= count
        return self.maximum

    @property
    def mean(self) -> float:
        """The mean in nanoseconds, from the middles of the buckets; 0 without values."""
        return sum((lowest + highest) / 2 * count for lowest, highest, count in self.buckets()) / max(1, self.total)

    @property
    def deviation(self) -> float:
        """The population standard deviation in nanoseconds, from the middles of the buckets."""
        mean = self.mean
        squares = sum(((lowest + highest) / 2 - mean) ** 2 * count for lowest, highest, count in self.buckets())
        return math.sqrt(squares / max(1, self.total))

    def percentiles(self, ticks: int = TICKS) -> Iterator[tuple[int, float, int]]:
        """The distribution: a value, the fraction of values up to it, and their number; closer and closer to 1.

        While the distance to 1 halves, there are `ticks` lines.
        """
        level = 0.0  # in percent, as in HdrHistogram, so that rounding is the same
        for highest, reached in self._cumulative():
            while 100 * reached / self.total >= level:
                yield highest, level / 100, reached
                level += 100 / (ticks * 2 ** (int(math.log2(100 / (100 - level))) + 1))
                if reached == self.total:
                    yield highest, 1.0, reached
                    return

    def _cumulative(self) -> Iterator[tuple[int, int]]:
        """The highest value of each bucket, at most the maximum, and the number of values up to it."""
        reached = 0
        for _, highest, count in self.buckets():
            reached += count
            yield min(highest, self.maximum), reached


def percentile_text(histogram: Histogram, unit: float = 1e6) -> str:
    """The distribution in HdrHistogram's percentile format, `.hgrm`. `unit` is that of its values, in nanoseconds.

    Empty histograms have only the heading and the summary.
    """
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    for value, fraction, reached in histogram.percentiles():
        line = f"{value / unit:12.3f} {fraction:2.12f} {reached:10d}"
        lines.append(f"{line} {1 / (1 - fraction):14.2f}" if fraction < 1 else line)
    bits = _BITS[histogram.digits]
    lines += [
        f"#[Mean    = {histogram.mean / unit:12.3f}, StdDeviation   = {histogram.deviation / unit:12.3f}]",
        f"#[Max     = {histogram.maximum / unit:12.3f}, Total count    = {histogram.total:12d}]",
        f"#[Buckets = {HIGHEST.bit_length() - bits + 1:12d}, SubBuckets     = {1 << bits:12d}]",
    ]
    return "\n".join(lines) + "\n"
