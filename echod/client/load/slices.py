"""A load over time: what was counted in each step, in each second, and in the series of a summary or a plot. Pure."""

from __future__ import annotations

from operator import sub
from typing import Final, NamedTuple

from echod.client.histogram import Histogram
from echod.client.load.counts import LoadCounts
from echod.client.time_series import DIGITS, TimeSeries

STEP: Final = 0.1  #: seconds: the first width of the intervals of a plot


class Second(NamedTuple):
    """The counts of one second, or of the part of one before the end."""

    begin: float  #: seconds since measuring began
    end: float
    sent: int
    received: int
    failed: int  #: lost, wrong and abandoned messages
    bytes_sent: int
    bytes_received: int
    times: Histogram  #: the latencies of the messages that were received

    @property
    def duration(self) -> float:
        """Its length in seconds, above 0."""
        return max(self.end - self.begin, 1e-9)


class Slices:
    """Cuts the counts of a load into steps. A message belongs to the step in which it got its fate."""

    def __init__(self, counts: LoadCounts, *, fine: bool) -> None:
        self.series = TimeSeries()  #: by second
        self.plotted = TimeSeries(STEP) if fine else None  #: finer, for a plot
        self.counts = counts
        self.restart()

    def restart(self) -> None:
        """Measuring begins."""
        self._begin = self._step = 0.0
        self._before: tuple[int, ...] = (0,) * 5
        self._failed = 0  # up to the last step
        self._times = Histogram()

    def step(self, now: float) -> tuple[Histogram, int]:
        """A step ends `now`, in seconds since measuring began. Returns its latencies, and its failed messages."""
        times, failed = self.counts.turn(), self._fates[2]
        self._times.merge(times)
        coarse = Histogram(DIGITS)
        for lowest, highest, count in times.buckets():
            coarse.record(min(max((lowest + highest) // 2, times.minimum), times.maximum), count)
        for series in (self.series, self.plotted):
            if series is not None and (times.total or failed > self._failed):
                series.merge(self._step, coarse, failed - self._failed)
        found = times, failed - self._failed
        self._step, self._failed = now, failed
        return found

    def second(self, now: float) -> Second:
        """A second ends `now`, the time of the last step."""
        after = self._fates
        sent, received, failed, bytes_sent, bytes_received = map(sub, after, self._before)
        found = Second(self._begin, now, sent, received, failed, bytes_sent, bytes_received, self._times)
        self._begin, self._before, self._times = now, after, Histogram()
        return found

    @property
    def _fates(self) -> tuple[int, ...]:
        counts = self.counts
        failed = counts.lost + counts.wrong + counts.abandoned
        return counts.sent, counts.received, failed, counts.bytes_sent, counts.bytes_received
