"""The last minute of a measurement as lines of characters, for a display that is drawn again and again. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from echod.client.histogram import Histogram
from echod.client.plots.axes import latency_text
from echod.client.plots.terminal_plot import NARROWEST, SHARES, Line, Role, Span, graph
from echod.client.time_series import DIGITS, Interval
from echod.escaping import clipped

SPAN: Final = 60.0  #: seconds that are shown
STEP: Final = 0.5  #: seconds of an interval
FEWEST_ROWS: Final = 4  #: of the graph
_GRAPH_EXTRA: Final = 3  # lines of a graph besides its rows: losses, axis, labels


class LastMinute:
    """Collects replies and losses, and shows those of the last minute. Times are seconds of one clock."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.notice = ""  #: the last event, such as a loss
        self.total = Histogram()  #: all latencies
        self.lost_total = 0
        self._intervals: dict[int, Interval] = {}

    def received(self, at: float, seconds: float) -> None:
        """A request that was sent `at` this time got its reply after so many seconds."""
        nanoseconds = round(seconds * 1e9)
        self.total.record(nanoseconds)
        self._interval(at).times.record(nanoseconds)

    def lost(self, at: float) -> None:
        """A request got no reply; it is shown at this time."""
        self.lost_total += 1
        self._interval(at).lost += 1

    def merge(self, at: float, times: Histogram, lost: int = 0) -> None:
        """Add many requests that were sent around this time. `times` has three significant digits."""
        self.total.merge(times)
        self.lost_total += lost
        interval = self._interval(at)
        interval.lost += lost
        for lowest, highest, count in times.buckets():
            interval.times.record(min(max((lowest + highest) // 2, times.minimum), times.maximum), count)

    def lines(self, now: float, columns: int, rows: int) -> list[Line]:
        """The display for a terminal of this size: at most `rows` lines, if there are 11 or more."""
        columns = max(columns, NARROWEST)
        shown = self._window(now)
        minute = Histogram(DIGITS)
        for _, interval in shown:
            minute.merge(interval.times)
        heading = [*_wrapped([clipped(self.title, columns - 1)], columns), *_wrapped(self._counts(), columns)]
        figures = [*_wrapped(["last minute:", *_figures(minute)], columns)]
        figures += _wrapped(["since the start:", *_figures(self.total)], columns)
        notice = [[Span(clipped(self.notice, columns - 1), Role.LOST)]] if self.notice else []
        free = rows - len(heading) - len(figures) - 1 - _GRAPH_EXTRA
        drawn = graph(shown, STEP, (-SPAN, 0.0), minute, columns, max(free, FEWEST_ROWS))
        return [*heading, *drawn, *figures, *notice]

    def _counts(self) -> list[str]:
        sent = self.total.total + self.lost_total
        percent = 100 * self.lost_total / sent if sent else 0.0
        return [f"{self.total.total:,} received,", f"{self.lost_total:,} lost ({percent:.2f}%)"]

    def _window(self, now: float) -> list[tuple[float, Interval]]:
        """The intervals of the last minute, by their start in seconds before now. Older ones are forgotten."""
        end = math.floor(now / STEP) + 1
        for index in [index for index in self._intervals if index < end - SPAN / STEP]:
            del self._intervals[index]
        return [((index - end) * STEP, self._intervals[index]) for index in sorted(self._intervals)]

    def _interval(self, at: float) -> Interval:
        return self._intervals.setdefault(math.floor(at / STEP), Interval())


def _figures(times: Histogram) -> Iterator[str]:
    """The percentiles that the number of times allows, and the extremes."""
    if not times.total:
        yield "no reply"
        return
    yield f"min {latency_text(times.minimum)}"
    for name, share in SHARES:
        if (1 - share) * times.total >= 0.999:
            yield f"{name} {latency_text(times.percentile(share))}"
    yield f"max {latency_text(times.maximum)}"


def _wrapped(parts: list[str], columns: int) -> list[Line]:
    """The parts on as many lines as they need; no part is divided."""
    found: list[str] = [""]
    for part in parts:
        if found[-1] and len(found[-1]) + 2 + len(part) > columns:
            found.append("")
        found[-1] += f"{'  ' if found[-1] else ''}{part}"
    return [[Span(line)] for line in found]
