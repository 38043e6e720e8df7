"""The content of a plot: latency over time, losses, and the distribution of the latencies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from echod.client.histogram import Histogram
from echod.client.time_series import TimeSeries
from echod.escaping import clipped

LONGEST: Final = (84, 120)  #: characters of the title, and of a line: more do not fit into a picture


@dataclass(frozen=True)
class PlotData:
    """One measurement, of any length; a plot of it has a bounded size."""

    title: str  #: the target
    lines: Sequence[str]  #: the summary as text
    series: TimeSeries  #: fine enough for a plot
    times: Histogram

    @property
    def span(self) -> float:
        """The seconds from the start to the end of the last interval."""
        return max((start for start, _ in self.series), default=0.0) + self.series.width

    @property
    def lost(self) -> int:
        """The number of requests without a reply."""
        return sum(interval.lost for _, interval in self.series)

    def headings(self) -> list[str]:
        """The title and the lines, safe to show and cut to their maximum."""
        return [clipped(self.title, LONGEST[0]), *(clipped(line, LONGEST[1]) for line in self.lines)]

    def distribution(self) -> list[tuple[float, int]]:
        """Points of the percentile plot: 1 / (1 - fraction), and the value in nanoseconds. The last one is the maximum.

        On a logarithmic axis the first number gives the percentiles 0, 90, 99, 99.9 the same distance.
        """
        points = [(1 / (1 - fraction), value) for value, fraction, _ in self.times.percentiles() if fraction < 1]
        return [*points, (points[-1][0], self.times.maximum)] if points else []
