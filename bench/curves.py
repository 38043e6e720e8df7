"""Curves as SVG: panels with a logarithmic x axis, readable in light and dark mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Final
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, GAP = 760, 230, 56, 210, 34, 36, 14
COLOURS: Final = ("#0969da", "#1a7f37", "#8c959f", "#bf8700", "#cf222e", "#8250df", "#6e7781")
DARK: Final = ("#4493f8", "#3fb950", "#9198a1", "#d29922", "#f85149", "#ab7df8", "#c9d1d9")
LABEL: Final = 15  #: the least distance of two names
TICK: Final = 48  #: the least distance of two numbers below the axis

STYLE: Final = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
  .title { font-size: 13px; font-weight: 600; }
  .note { font-size: 11px; fill: #59636e; }
  .grid { stroke: #d1d9e0; stroke-width: 1; }
  .line { fill: none; stroke-width: 2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
    .grid { stroke: #3d444d; }
"""


@dataclass(frozen=True)
class Curve:
    """A name and its points, from left to right."""

    name: str
    points: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Panel:
    """Curves with the same axes; `unit` is that of y."""

    title: str
    unit: str
    axis: str
    curves: Sequence[Curve]


def steps(highest: float) -> list[float]:
    """Three to seven round values from 0 to at least `highest` (above 0)."""
    size = 10 ** floor(log10(highest))
    step = next(part * size for part in (0.2, 0.5, 1, 2) if highest / (part * size) <= 6)
    values = [0.0]
    while values[-1] < highest:
        values.append(round(values[-1] + step, 9))
    return values


def apart(wanted: Sequence[float]) -> list[float]:
    """The positions, in the same order, moved down so that two names have the distance LABEL."""
    found: list[float] = []
    for at in wanted:
        found.append(at if not found else max(at, found[-1] + LABEL))
    return found


def _panel(panel: Panel, top: float, colours: dict[str, int]) -> Iterator[str]:
    ticks = sorted({x for curve in panel.curves for x, _ in curve.points})
    levels = steps(max((y for curve in panel.curves for _, y in curve.points if y > 0), default=1.0))
    low, span = log10(ticks[0]), (log10(ticks[-1]) - log10(ticks[0])) or 1.0
    height = HEIGHT - TOP - BOTTOM
    below = top + TOP + height + 16

    def across(x: float) -> float:
        return LEFT + (log10(x) - low) / span * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return top + TOP + height - max(y, 0.0) / levels[-1] * height

    heading = f"{panel.title}, {panel.unit}, by number of {panel.axis}"
    yield f'<text class="title" x="{LEFT}" y="{top + 16:g}">{escape(heading)}</text>'
    for level in levels:
        y = down(level)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="note" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{level:g}</text>'
    for x, after in zip(ticks, [*ticks[1:], None], strict=True):
        if after is None or across(after) - across(x) >= TICK:
            yield f'<text class="note" x="{across(x):.1f}" y="{below:g}" text-anchor="middle">{x:,}</text>'
    ordered = sorted(panel.curves, key=lambda curve: -curve.points[-1][1])
    for curve, label in zip(ordered, apart([down(curve.points[-1][1]) for curve in ordered]), strict=True):
        number = colours.setdefault(curve.name, len(colours) % len(COLOURS))
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in curve.points)
        yield f'<polyline class="line s{number}" points="{points}"/>'
        yield from (
            f'<circle class="d{number}" cx="{across(x):.1f}" cy="{down(y):.1f}" r="3"/>' for x, y in curve.points
        )
        yield f'<circle class="d{number}" cx="{WIDTH - RIGHT + 20}" cy="{label:.1f}" r="4"/>'
        yield f'<text x="{WIDTH - RIGHT + 30}" y="{label + 4:.1f}">{escape(curve.name)}</text>'


def drawing(panels: Sequence[Panel], caption: str) -> str:
    """The SVG document. The caption gives date and machine."""
    shown = [panel for panel in panels if panel.curves]
    colours: dict[str, int] = {}
    body: list[str] = []
    for number, panel in enumerate(shown):
        body += _panel(panel, number * (HEIGHT + GAP), colours)
    height = len(shown) * (HEIGHT + GAP) + 24
    light = "\n".join(
        f"  .s{at} {{ stroke: {colour}; }} .d{at} {{ fill: {colour}; }}" for at, colour in enumerate(COLOURS)
    )
    dark = "\n".join(
        f"    .s{at} {{ stroke: {colour}; }} .d{at} {{ fill: {colour}; }}" for at, colour in enumerate(DARK)
    )
    said = "; ".join(
        f"{panel.title}, {panel.unit}: "
        + ", ".join(f"{curve.name} " + " ".join(f"{x:,}: {y:.2f}" for x, y in curve.points) for curve in panel.curves)
        for panel in shown
    )
    style = STYLE.replace("  @media", f"{light}\n  @media") + f"{dark}\n  }}\n"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
            ' role="img" aria-labelledby="title desc">',
            '<title id="title">Cost of a message by number of connections</title>',
            f'<desc id="desc">{escape(said)}</desc>',
            f"<style>{style}</style>",
            *body,
            f'<text class="note" x="{LEFT}" y="{height - 8}">{escape(caption)}</text>',
            "</svg>",
            "",
        ]
    )
