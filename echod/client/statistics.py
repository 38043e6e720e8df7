"""What a series of times has in common: pure arithmetic, in memory that does not grow with the days."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from typing import Final

KEPT: Final = 100_000
"""Times that are kept one by one, in 800 kB: a day of one a second has 86,400."""
_LEADING: Final = 7  #: binary digits of a time, behind its first, that tell the buckets apart


class Times:
    """The figures of a series of times, which are seconds; ask for them once there is a time.

    The mean and the deviation are Welford's: no sum grows until the small digits are lost. Quantiles are exact for
    the first `kept` times. When there are more, all of them only count in a bucket each, and a quantile is the
    middle of one: at most 0.4 % from the time that it stands for, or half a nanosecond.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self.count = 0
        self.minimum = math.inf
        self.maximum = 0.0
        self.mean = 0.0
        self._squares = 0.0  # of the distances from the mean, summed up
        self._steps = 0.0  # from each time to the next, summed up without their signs
        self._last = 0.0
        self._most = kept
        self._kept = array("d")
        self._buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """One more time, 0 or longer."""
        if self.count:
            self._steps += abs(seconds - self._last)
        self._last = seconds
        self.count += 1
        self.minimum = min(self.minimum, seconds)
        self.maximum = max(self.maximum, seconds)
        distance = seconds - self.mean
        self.mean += distance / self.count
        self._squares += distance * (seconds - self.mean)
        if self.count <= self._most:
            self._kept.append(seconds)
        else:
            self._count(self._kept)
            self._kept = array("d")
            self._count((seconds,))

    @property
    def exact(self) -> bool:
        """Whether quantiles are exact."""
        return not self._buckets

    @property
    def deviation(self) -> float:
        """The standard deviation of these times, which are all there are (not a sample of more)."""
        return math.sqrt(max(0.0, self._squares) / self.count)

    @property
    def jitter(self) -> float:
        """The mean of |D|, where D is the difference between a time and the one before it (RFC 3550 6.4.1)."""
        return self._steps / (self.count - 1) if self.count > 1 else 0.0

    def quantile(self, fraction: float) -> float:
        """The time that this fraction of all are not longer than; between two times, as far from each as it is."""
        place = (self.count - 1) * fraction
        below = int(place)
        low, high = self._at(below), self._at(min(below + 1, self.count - 1))
        return low + (high - low) * (place - below)

    def _at(self, rank: int) -> float:
        if self.exact:
            return sorted(self._kept)[rank]
        for bucket, count in sorted(self._buckets.items()):
            if rank < count:
                return min(max(_middle(bucket), self.minimum), self.maximum)
            rank -= count
        return self.maximum

    def _count(self, times: Iterable[float]) -> None:
        for seconds in times:
            bucket = _bucket(round(seconds * 1e9))
            self._buckets[bucket] = self._buckets.get(bucket, 0) + 1


def _bucket(nanoseconds: int) -> int:
    """Which times count together: those that begin with the same eight binary digits. Longer times, higher numbers."""
    shift = max(0, nanoseconds.bit_length() - 1 - _LEADING)
    return (shift << _LEADING + 1) + (nanoseconds >> shift)


def _middle(bucket: int) -> float:
    """The middle of a bucket, in seconds."""
    shift, leading = divmod(bucket, 1 << _LEADING + 1)
    return ((leading << shift) + ((1 << shift) - 1) / 2) / 1e9
