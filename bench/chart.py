"""The bar chart as SVG: processor time per message, one panel per workload, readable in light and dark mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from bench.figures import Results, summary
from bench.workloads import WORKLOADS

PANELS = ("tcp-64", "tcp-bulk", "connect", "udp-64")
"""The workloads in the chart, if they were measured."""

OMITTED = ("echod-python", "echod-off", "c-gro")
"""Peers left out of the chart: they compare variants of echod, or belong to one other workload."""

WIDTH, LABEL, VALUE = 760, 150, 70
BAR, GAP, TITLE, MARGIN = 18, 6, 34, 20

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .note { font-size: 11px; fill: #59636e; }
  .bar { fill: #8c959f; }
  .own { fill: #0969da; }
  .name-own { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
    .bar { fill: #6e7681; }
    .own { fill: #4493f8; }
  }
"""


def _panel(title: str, bars: Sequence[tuple[str, float, bool]], top: float) -> tuple[list[str], float]:
    """The SVG elements of one panel, and the y position of the next. Each panel has its own scale, from zero."""
    longest = max(value for _, value, _ in bars)
    lines = [f'<text class="title" x="{MARGIN}" y="{top + 16:g}">{escape(title)}</text>']
    y = top + TITLE - GAP
    for name, value, own in bars:
        width = max(1.0, value / longest * (WIDTH - 2 * MARGIN - LABEL - VALUE))
        base = y + BAR - 5
        lines += [
            f'<text{" class=" + chr(34) + "name-own" + chr(34) if own else ""} x="{MARGIN + LABEL - 8}" y="{base:g}"'
            f' text-anchor="end">{escape(name)}</text>',
            f'<rect class="{"bar own" if own else "bar"}" x="{MARGIN + LABEL}" y="{y:g}" width="{width:.1f}"'
            f' height="{BAR}" rx="2"/>',
            f'<text x="{MARGIN + LABEL + width + 6:.1f}" y="{base:g}">{value:.{1 if value >= 1 else 2}f} µs</text>',
        ]
        y += BAR + GAP
    return lines, y + GAP * 2


def chart(results: Results, subject: str, titles: Mapping[str, str], caption: str) -> str | None:
    """The SVG document, or None if none of its workloads was measured. The caption gives date and machine."""
    body: list[str] = []
    said: list[str] = []
    y = float(MARGIN)
    for workload in WORKLOADS:
        rows = results.slices.get(workload.key, {}) if workload.key in PANELS else {}
        shown = [peer for peer in rows if peer == subject or peer not in OMITTED]
        bars = [(titles[peer], summary(rows[peer]).cpu_us, peer == subject) for peer in shown]
        if not bars:
            continue
        bars.sort(key=lambda bar: bar[1])
        lines, y = _panel(workload.title, bars, y)
        body += lines
        said.append(f"{workload.title}: " + ", ".join(f"{name} {value:.1f}" for name, value, _ in bars))
    if not body:
        return None
    height = y + 24
    head = "Processor time per message (user and system, whole process tree); shorter is better"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}"'
            f' viewBox="0 0 {WIDTH} {height:g}" role="img" aria-labelledby="title desc">',
            f'<title id="title">{escape(head)}</title>',
            f'<desc id="desc">{escape("; ".join(said))} (microseconds)</desc>',
            f"<style>{STYLE}</style>",
            *body,
            f'<text class="note" x="{MARGIN}" y="{y + 2:g}">{escape(head)}.</text>',
            f'<text class="note" x="{MARGIN}" y="{y + 17:g}">{escape(caption)}</text>',
            "</svg>",
            "",
        ]
    )
