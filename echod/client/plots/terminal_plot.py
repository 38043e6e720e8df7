"""A plot of characters, for any width of a terminal from 30 columns: latency over time, losses, percentiles. Pure.

Each line is a sequence of spans, and each span has a role that a terminal shows as a color. Without colors the plot is
still complete: a median is a full dot pattern, and the range from the shortest to the longest time is a thin one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import groupby
from typing import Final, NamedTuple

from echod.client.histogram import Histogram
from echod.client.plots.axes import Axis, latency_axis, latency_text, time_axis
from echod.client.plots.plot_data import PlotData
from echod.client.time_series import Interval
from echod.escaping import clipped

ROWS: Final = 12  #: lines of the graph
MARGIN: Final = 9  #: columns before the graph: a label and the axis
NARROWEST: Final = 30  #: columns: a narrower terminal wraps the lines
SHARES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
_BLANK: Final = 0x2800  # the braille pattern without dots
_LEFT: Final = (0x40, 0x04, 0x02, 0x01)  # dots of a pattern from the bottom to the top
_BOTH: Final = (0xC0, 0x24, 0x12, 0x09)
_WIDEST: Final = 3  # columns that one interval fills, so that few intervals do not look like a block


class Role(Enum):
    """The meaning of a span."""

    TEXT = "text"
    AXIS = "axis"
    RANGE = "range"
    MEDIAN = "median"
    LOST = "lost"


ANSI: Final = {Role.TEXT: "", Role.AXIS: "", Role.RANGE: "\x1b[34m", Role.MEDIAN: "\x1b[36m", Role.LOST: "\x1b[31m"}
"""The colors as escape sequences, of the 16 that each terminal has."""


class Span(NamedTuple):
    """A part of a line."""

    text: str
    role: Role = Role.TEXT


Line = Sequence[Span]


def terminal_plot(data: PlotData, columns: int) -> list[Line]:
    """The plot of a finished measurement: heading, graph and percentiles."""
    columns = max(columns, NARROWEST)
    plotted = list(data.series)
    drawn: list[Line] = [[Span(clipped(data.title, columns - 1))]]
    drawn += graph(plotted, data.series.width, (0.0, data.span), data.times, columns)
    return [*drawn, *percentiles(data.times, columns)]


def text(line: Line, *, colored: bool) -> str:
    """A line as text without trailing spaces, with colors if the terminal shows them."""
    if not colored:
        return "".join(span.text for span in line).rstrip()
    shown = ""
    for role, spans in groupby(line, key=lambda span: span.role):
        part = "".join(span.text for span in spans)
        shown += f"{ANSI[role]}{part}\x1b[0m" if ANSI[role] and not part.isspace() else part
    return shown.rstrip()


def graph(
    intervals: Sequence[tuple[float, Interval]],
    length: float,
    window: tuple[float, float],
    times: Histogram,
    columns: int,
    rows: int = ROWS,
) -> list[Line]:
    """The graph of intervals of equal `length` from the start to the end of `window`, in seconds.

    `times` are all latencies that it shows: they choose the range of its axis.
    """
    wide = columns - MARGIN
    merged = _merged(intervals, length, window, wide)
    latency = latency_axis(times.minimum, times.maximum, rows // 2) if times.total else None
    lost = sum(interval.lost for _, interval in intervals)
    counted = f"{lost:,} lost" if lost else ""
    marks = "".join("×" if one is not None and one.lost else " " for one in merged)
    drawn: list[Line] = [[Span(f"{counted:>{MARGIN - 1}} {marks}", Role.LOST)]]
    labels = _labels(latency, rows)
    for row in reversed(range(rows)):
        axis = Span(f"{labels.get(row, ''):>{MARGIN - 2}} {'┤' if row in labels else '│'}", Role.AXIS)
        drawn.append([axis, *(_cells(merged, latency, row, rows) if latency is not None else ())])
    return [*drawn, *_time_labels(window, wide)]


def percentiles(times: Histogram, columns: int) -> list[Line]:
    """A line with a bar for the minimum, each percentile that the number of times allows, and the maximum."""
    if not times.total:
        return [[Span("no reply")]]
    axis = latency_axis(times.minimum, times.maximum)
    shown = [("min", times.minimum)]
    shown += [(name, times.percentile(share)) for name, share in SHARES if (1 - share) * times.total >= 0.999]
    shown.append(("max", times.maximum))
    room = columns - MARGIN - 10
    return [
        [
            Span(f"{name:>{MARGIN - 2}}  {latency_text(value):>8} "),
            Span("━" * max(1, round(room * axis.at(value))), Role.MEDIAN),
        ]
        for name, value in shown
    ]


def _merged(
    intervals: Iterable[tuple[float, Interval]], length: float, window: tuple[float, float], wide: int
) -> list[Interval | None]:
    """The requests that each column shows; None if it has none."""
    begin, end = window
    found: list[Interval | None] = [None] * wide
    for start, interval in intervals:
        first = int((start - begin) / (end - begin) * wide)
        after = max(first + 1, min(int((start + length - begin) / (end - begin) * wide), first + _WIDEST))
        for column in range(max(first, 0), min(after, wide)):
            place = found[column]
            if place is None:
                place = found[column] = Interval()
            place.merge(interval.times, interval.lost)
    return found


def _cells(merged: Sequence[Interval | None], latency: Axis, row: int, rows: int) -> list[Span]:
    """The patterns of one row; `row` counts from the bottom."""
    spans = []
    for interval in merged:
        if interval is None or not interval.times.total:
            spans.append(Span(" "))
            continue
        times = interval.times
        low, median, high = (
            round(latency.at(value) * (rows * 4 - 1)) for value in (times.minimum, times.percentile(0.5), times.maximum)
        )
        code = sum(_LEFT[dot] for dot in range(4) if low <= row * 4 + dot <= high)
        role = Role.RANGE
        if median // 4 == row:
            code, role = code | _BOTH[median % 4], Role.MEDIAN
        spans.append(Span(chr(_BLANK + code) if code else " ", role))
    return spans


def _labels(latency: Axis | None, rows: int) -> dict[int, str]:
    """The labels of the axis of latency, by row."""
    found: dict[int, str] = {}
    for value, label in latency.ticks if latency is not None else ():
        found.setdefault(round(latency.at(value) * (rows * 4 - 1)) // 4 if latency is not None else 0, label)
    return found


def _time_labels(window: tuple[float, float], wide: int) -> list[Line]:
    """The axis of time, and its labels. A window that ends at 0 has the seconds before now."""
    begin, end = window
    axis, unit = time_axis(end - begin, max(2, wide // 12))
    line, labels = ["─"] * wide, [" "] * (wide + MARGIN)
    for value, label in axis.ticks:
        column = min(int(axis.at(value) * wide), wide - 1)
        shown = label if begin == 0 else f"{begin + value:.0f}"
        start = column + MARGIN - len(shown) // 2
        if start + len(shown) <= len(labels) - len(unit) - 1 and not "".join(labels[start - 1 : start]).strip():
            line[column] = "┬"
            labels[start : start + len(shown)] = shown
    labels[-len(unit) :] = unit
    return [[Span(f"{' ' * (MARGIN - 1)}└{''.join(line)}", Role.AXIS)], [Span("".join(labels), Role.AXIS)]]
