"""Statistics of a series of times, in bounded memory. Pure."""

from __future__ import annotations

import math
from array import array
from typing import Final

from echod.client.histogram import Histogram

KEPT: Final = 100_000
"""Number of times that are kept exactly, in 800 kB: a day of one a second has 86,400."""


class Times:
    """The statistics of a series of times in seconds. They need at least one time.

    Mean and deviation use Welford's algorithm, which does not lose precision as sums grow. Quantiles are exact for the
    first `kept` times. With more times, all are counted in a histogram, and a quantile is the middle of a bucket. Its
    error is at most 0.05 %, or half a nanosecond.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self.count = 0
        self.minimum = math.inf
        self.maximum = 0.0
        self.mean = 0.0
        self._squares = 0.0  # sum of squared distances from the mean
        self._steps = 0.0  # sum of absolute differences between successive times
        self._last = 0.0
        self._most = kept
        self._kept = array("d")
        self._counted: Histogram | None = None  # in place of the kept times if there are more

    def add(self, seconds: float) -> None:
        """Add a time of 0 seconds or more."""
        if self.count:
            self._steps += abs(seconds - self._last)
        self._last = seconds
        self.count += 1
        self.minimum = min(self.minimum, seconds)
        self.maximum = max(self.maximum, seconds)
        distance = seconds - self.mean
        self.mean += distance / self.count
        self._squares += distance * (seconds - self.mean)
        if self._counted is not None:
            self._counted.record(round(seconds * 1e9))
        else:
            self._kept.append(seconds)
            if self.count > self._most:
                self._counted, self._kept = self.histogram(), array("d")

    @property
    def exact(self) -> bool:
        """Whether quantiles are exact: all times are kept."""
        return self._counted is None

    def histogram(self) -> Histogram:
        """All times by their duration, with three significant digits."""
        if self._counted is not None:
            return self._counted
        found = Histogram()
        for seconds in self._kept:
            found.record(round(seconds * 1e9))
        return found

    @property
    def deviation(self) -> float:
        """The population standard deviation, in seconds."""
        return math.sqrt(max(0.0, self._squares) / self.count)

    @property
    def jitter(self) -> float:
        """The mean of |D|, where D is the difference between a time and the one before it (RFC 3550 6.4.1)."""
        return self._steps / (self.count - 1) if self.count > 1 else 0.0

    def quantile(self, fraction: float) -> float:
        """The quantile of a fraction (0–1), with linear interpolation between two times."""
        position = (self.count - 1) * fraction
        below = int(position)
        low, high = self._at(below), self._at(min(below + 1, self.count - 1))
        return low + (high - low) * (position - below)

    def doubling_buckets(self) -> dict[float, int]:
        """How many times are in each bucket from its lower end to twice that, in ascending order and without gaps."""
        found: dict[int, int] = {}
        for lowest, _, count in self.histogram().buckets():  # a bucket never contains a power of two and a lower value
            power = max(lowest, 1).bit_length() - 1
            found[power] = found.get(power, 0) + count
        if not found:
            return {}
        return {2**power / 1e9: found.get(power, 0) for power in range(min(found), max(found) + 1)}

    def _at(self, rank: int) -> float:
        if self._counted is None:
            return sorted(self._kept)[rank]
        return min(max(self._counted.at_rank(rank) / 1e9, self.minimum), self.maximum)
