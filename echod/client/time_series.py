"""Latency and losses over time, in bounded memory: intervals of equal width, merged while there are too many. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from echod.client.histogram import Histogram

MOST: Final = 600  #: intervals: ten minutes of seconds, and about as many as a plot has room for
DIGITS: Final = 2  #: significant digits of the percentiles of an interval; minimum and maximum are exact


class Interval:
    """The times and losses of one interval."""

    __slots__ = ("lost", "times")

    def __init__(self) -> None:
        self.lost = 0  #: number of requests without a reply
        self.times = Histogram(DIGITS)  #: the round-trip times of the requests that got a reply

    def merge(self, times: Histogram, lost: int) -> None:
        """Add what another interval has."""
        self.times.merge(times)
        self.lost += lost


class TimeSeries:
    """Intervals by the time at which a request was sent, in seconds since the start.

    The first width is `width` seconds: 1, or a power of ten of it, and at least 0.001. If there are more than `most`
    intervals, the width grows by steps of 2 and 5, so that it stays a round number.
    """

    def __init__(self, width: float = 1.0, most: int = MOST) -> None:
        self._width = round(width * 1000)  # milliseconds
        self._steps = 0
        self._most = most
        self._intervals: dict[int, Interval] = {}

    @property
    def width(self) -> float:
        """The width of an interval in seconds."""
        return self._width / 1000

    def received(self, at: float, seconds: float) -> None:
        """Add the round-trip time of a request that was sent `at` this time."""
        self._interval(at).times.record(round(seconds * 1e9))

    def lost(self, at: float) -> None:
        """Add a request that was sent `at` this time and got no reply."""
        self._interval(at).lost += 1

    def merge(self, at: float, times: Histogram, lost: int = 0) -> None:
        """Add all requests of an interval that begins `at` this time. `times` has DIGITS digits."""
        self._interval(at).merge(times, lost)

    def __iter__(self) -> Iterator[tuple[float, Interval]]:
        """The start of each interval that has requests, in seconds, and the interval, in ascending order."""
        return ((at * self._width / 1000, interval) for at, interval in sorted(self._intervals.items()))

    def figures(self) -> dict[str, Any]:
        """The width, and the figures of each interval that has requests, for JSON. Times are in milliseconds."""
        return {"interval_ms": self._width, "intervals": [_figures(start, one) for start, one in self]}

    def _interval(self, at: float) -> Interval:
        index = max(0, int(at * 1000)) // self._width
        while index >= self._most:
            index = self._widen(index)
        interval = self._intervals.get(index)
        if interval is None:
            interval = self._intervals[index] = Interval()
        return interval

    def _widen(self, index: int) -> int:
        """Merge intervals into wider ones. Returns the new index of an interval."""
        factor = (2, 5)[self._steps % 2]
        self._steps += 1
        self._width *= factor
        before, self._intervals = self._intervals, {}
        for at, interval in before.items():
            self._intervals.setdefault(at // factor, Interval()).merge(interval.times, interval.lost)
        return index // factor


def _figures(start: float, interval: Interval) -> dict[str, Any]:
    times = interval.times
    found = {"start_ms": round(start * 1000), "received": times.total, "lost": interval.lost}
    if not times.total:
        return found | dict.fromkeys(("min_ms", "p50_ms", "p99_ms", "max_ms"))
    values = (times.minimum, times.percentile(0.5), times.percentile(0.99), times.maximum)
    return found | {
        f"{name}_ms": round(value / 1e6, 6) for name, value in zip(("min", "p50", "p99", "max"), values, strict=True)
    }
