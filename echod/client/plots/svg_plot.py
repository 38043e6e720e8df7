"""A plot as SVG: latency over time with losses, and the distribution below it. Its size is bounded. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from echod.client.plots.axes import Axis, latency_axis, latency_text, percentile_axis, time_axis
from echod.client.plots.plot_data import PlotData

WIDTH: Final = 860
LEFT, RIGHT, TOP = 72, 24, 26  # margins
LINE: Final = 17  #: height of a line of text
TIME_HEIGHT, DISTRIBUTION_HEIGHT = 230, 170
GAP: Final = 66  #: between the two panels: the labels of the first one, and the heading of the second
LOSS: Final = 10  #: height of the strip of losses
MOST_DOTS: Final = 150  #: medians that are also drawn as dots
ROOM: Final = 90  #: width of the label of the maximum
MARKED: Final = (0.5, 0.9, 0.99, 0.999)  #: fractions with a label in the distribution

STYLE: Final = (
    ".b{fill:#fff}text{font:12px system-ui,sans-serif;fill:#333}.t{font-size:15px;font-weight:600}.h{font-weight:600}"
    ".m{text-anchor:middle}.e{text-anchor:end}.g{stroke:#ddd;fill:none}.a{stroke:#888;fill:none}"
    ".r{stroke:#8fbdec;fill:none}.p,.o{stroke:#0b5fb4;stroke-width:1.5;fill:none}.d{fill:#0b5fb4}"
    ".o{stroke-width:5;stroke-linecap:round}"
    ".l{stroke:#c62828;stroke-width:2;fill:none}.x{fill:#c62828}"
    "@media(prefers-color-scheme:dark){.b{fill:#181818}text{fill:#ddd}.g{stroke:#3a3a3a}.r{stroke:#2f5f93}"
    ".p,.o{stroke:#6cb2ff}.d{fill:#6cb2ff}.l{stroke:#ff6b60}.x{fill:#ff6b60}}"
)


def svg(data: PlotData) -> str:
    """The SVG document."""
    return "\n".join(_Drawing(data).lines()) + "\n"


class _Drawing:
    def __init__(self, data: PlotData) -> None:
        self._data = data
        self._headings = data.headings()
        self._latency = latency_axis(data.times.minimum, data.times.maximum) if data.times.total else None
        self._first = TOP + LINE * len(self._headings) + LOSS + 18  # top of the panel of time
        self._second = self._first + TIME_HEIGHT + GAP  # top of the panel of the distribution
        self._right = WIDTH - RIGHT

    def lines(self) -> Iterator[str]:
        title = escape(self._headings[0])
        height = (self._second + DISTRIBUTION_HEIGHT if self._latency is not None else self._first + TIME_HEIGHT) + 46
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
        yield f"<title>{title}</title><style>{STYLE}</style>"
        yield f'<rect class="b" width="{WIDTH}" height="{height}"/>'
        for number, line in enumerate(self._headings):
            kind = ' class="t"' if number == 0 else ""
            yield f'<text{kind} x="14" y="{TOP + LINE * number}">{escape(line)}</text>'
        yield from self._over_time()
        if self._latency is not None:
            yield from self._distribution(self._latency)
        yield "</svg>"

    def _over_time(self) -> Iterator[str]:
        time, unit = time_axis(self._data.span)
        top, floor = self._first, self._first + TIME_HEIGHT
        several = any(interval.times.total > 1 for _, interval in self._data.series)
        legend = f"; line: median, bars: shortest to longest of {latency_text(self._data.series.width * 1e9)}" * several
        yield from self._grid(top, TIME_HEIGHT, time, f"time since the start ({unit}){legend}")
        if self._latency is None:
            yield f'<text class="m" x="{(LEFT + self._right) / 2:.0f}" y="{top + TIME_HEIGHT / 2:.0f}">no reply</text>'
        ranges, losses = [], []
        runs: list[list[str]] = [[]]  # the medians of consecutive intervals: a line ends where all requests were lost
        for start, interval in self._data.series:
            x = f"{self._x(time, start + self._data.series.width / 2):.1f}"
            times = interval.times
            if interval.lost:
                losses.append(f"M{x} {top - LOSS - 8}v{LOSS}")
            if self._latency is None or not times.total:
                runs.append([])
                continue
            high, low, median = (
                floor - TIME_HEIGHT * self._latency.at(value)
                for value in (times.maximum, times.minimum, times.percentile(0.5))
            )
            if times.total > 1:
                ranges.append(f"M{x} {low + 0.5:.1f}V{high - 0.5:.1f}")
            runs[-1].append(f"{x} {median:.1f}")
        yield f'<path class="r" stroke-width="{self._stroke(time)}" d="' + "".join(ranges) + '"/>'
        yield '<path class="p" d="' + "".join(f"M{'L'.join(run)}" for run in runs if run) + '"/>'
        if sum(map(len, runs)) <= MOST_DOTS:
            yield '<path class="o" d="' + "".join(f"M{place}h0" for run in runs for place in run) + '"/>'
        if losses:
            yield '<path class="l" d="' + "".join(losses) + '"/>'
            yield f'<text class="x e" x="{LEFT - 8}" y="{top - 9}">{self._data.lost:,} lost</text>'

    def _distribution(self, latency: Axis) -> Iterator[str]:
        points = self._data.distribution()
        percentile = percentile_axis(points[-1][0])
        top, floor = self._second, self._second + DISTRIBUTION_HEIGHT
        yield from self._grid(top, DISTRIBUTION_HEIGHT, percentile, "percentile")
        places = [(self._x(percentile, x), floor - DISTRIBUTION_HEIGHT * latency.at(value)) for x, value in points]
        yield '<path class="p" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) + '"/>'
        free = 0.0  # the end of the last label
        for fraction in MARKED:
            inverse = 1 / (1 - fraction)
            if inverse > percentile.high or inverse > self._data.times.total:
                continue
            value = self._data.times.percentile(fraction)
            x, y = self._x(percentile, inverse), floor - DISTRIBUTION_HEIGHT * latency.at(value)
            yield f'<circle class="d" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
            yield f'<text class="e" x="{x - 5:.1f}" y="{y - 7:.1f}">{latency_text(value)}</text>'
            free = x
        if places[-1][0] - free > ROOM:
            x, y = places[-1]
            yield f'<text class="e" x="{x:.1f}" y="{y - 7:.1f}">max {latency_text(points[-1][1])}</text>'

    def _grid(self, top: float, height: float, across: Axis, name: str) -> Iterator[str]:
        floor = top + height
        for value, label in self._latency.ticks if self._latency is not None else ():
            assert self._latency is not None
            y = floor - height * self._latency.at(value)
            yield f'<path class="g" d="M{LEFT} {y:.1f}H{self._right}"/>'
            yield f'<text class="e" x="{LEFT - 8}" y="{y + 4:.1f}">{label}</text>'
        for value, label in across.ticks:
            x = self._x(across, value)
            yield f'<path class="g" d="M{x:.1f} {top}V{floor}"/>'
            yield f'<text class="m" x="{x:.1f}" y="{floor + 16}">{label}</text>'
        yield f'<path class="a" d="M{LEFT} {top}V{floor}H{self._right}"/>'
        yield f'<text class="m" x="{(LEFT + self._right) / 2:.0f}" y="{floor + 34}">{name}</text>'

    def _x(self, axis: Axis, value: float) -> float:
        return LEFT + (self._right - LEFT) * axis.at(value)

    def _stroke(self, time: Axis) -> str:
        """The width of the bar of an interval: as wide as the interval, but not a block."""
        return f"{min(max((self._right - LEFT) * self._data.series.width / time.high, 1), 6):.1f}"
