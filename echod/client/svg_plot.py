"""Draws the times of a ping as SVG, of bounded size for any number of probes. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

MOST: Final = 2_000
"""Maximum columns: more than a screen shows. If it is exceeded, two columns are merged: minimum and maximum of both."""
WIDTH = 800
HEIGHT = 340
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 60  # margins
LINE = 18  #: height of a line of text
STEPS: Final = 5  #: grid lines above zero, at most

STYLE: Final = (
    "text{font:12px sans-serif;fill:#333}.title{font-size:14px}.grid{stroke:#ccc;stroke-width:1}"
    ".time{stroke:#0b6bcb;stroke-linecap:round}"
    "@media(prefers-color-scheme:dark){svg{background:#181818}text{fill:#ddd}.grid{stroke:#444}.time{stroke:#5aa9ff}}"
)


class Plot:
    """Collects the times of replies by probe number. A probe without a reply leaves a gap."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._each = 1  # probes in a column
        self._columns: dict[int, tuple[float, float]] = {}

    def add(self, number: int, seconds: float) -> None:
        """Add the time of the reply to a probe; the number of the first probe is 1."""
        self._put((number - 1) // self._each, seconds, seconds)
        while number > self._each * self._most:
            before, self._columns = self._columns, {}
            self._each *= 2
            for at, (low, high) in before.items():
                self._put(at // 2, low, high)

    def _put(self, at: int, low: float, high: float) -> None:
        least, most = self._columns.get(at, (low, high))
        self._columns[at] = (min(least, low), max(most, high))

    def svg(self, title: str, summary: str) -> str:
        """The SVG document, with `title` above and the lines of `summary` below: two at most."""
        return "\n".join(self._lines(title, summary)) + "\n"

    def _lines(self, title: str, summary: str) -> Iterator[str]:
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        yield f"<title>{escape(title)}</title><style>{STYLE}</style>"
        yield f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>'
        for number, line in enumerate(summary.splitlines()):
            yield f'<text x="{LEFT}" y="{HEIGHT - BOTTOM + 30 + LINE * number}">{escape(line)}</text>'
        step = _step(max((high for _, high in self._columns.values()), default=0.0) * 1000)
        top = step * STEPS
        floor = HEIGHT - BOTTOM
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        for number in range(STEPS + 1):
            y = floor - (floor - TOP) * number / STEPS
            yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
            yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{step * number:.{decimals}f} ms</text>'
        last = max(self._columns, default=0) or 1
        width = min(max((WIDTH - RIGHT - LEFT) / last / 2, 2), 5)  # wider if there are few
        yield f'<g class="time" stroke-width="{width:.1f}">'
        for at, (low, high) in sorted(self._columns.items()):
            x = LEFT + 4 + (WIDTH - RIGHT - LEFT - 8) * at / last
            up, down = (floor - (floor - TOP) * seconds * 1000 / top for seconds in (high, low))
            yield f'<line x1="{x:.1f}" y1="{up:.1f}" x2="{x:.1f}" y2="{max(down, up + 0.1):.1f}"/>'
        yield "</g></svg>"


def _step(most: float) -> float:
    """Milliseconds between grid lines: 1, 2 or 5 times a power of ten, so that `most` fits below the last line."""
    least = max(most, 1e-6) / STEPS
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(power * times for times in (1, 2, 5, 10, 20) if power * times >= least)
