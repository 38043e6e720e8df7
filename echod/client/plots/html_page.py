"""A plot as a web page in one file: it loads nothing, and its values are shown below the pointer.

The charts are drawn by uPlot, which the page contains (echod/pages/vendor/uplot). The policy of the page allows only
its own scripts and styles, by their hashes. Without scripts the page shows the picture of `svg_plot`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

from echod.client.plots import svg_plot
from echod.client.plots.axes import latency_axis, latency_text, percentile_axis, time_axis
from echod.client.plots.plot_data import PlotData

CHART: Final = Path(__file__).parents[2] / "pages" / "vendor" / "uplot"
ROWS: Final = (("50%", 0.5), ("90%", 0.9), ("95%", 0.95), ("99%", 0.99), ("99.9%", 0.999))
SECONDS: Final = {"s": 1, "min:s": 60, "h:min": 3600, "days": 86_400}  #: by the unit of `time_axis`
UNITS: Final = {"min:s": "min", "h:min": "h"}  #: the axis of the page has decimals, because it can be enlarged


def html(data: PlotData) -> str:
    """The page."""
    chart_code, code = (CHART / "uPlot.iife.min.js").read_text("utf-8").strip(), _file("page.js")
    chart_style, style = (CHART / "uPlot.min.css").read_text("utf-8").strip(), _file("page.css")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(chart_code)} {_hash(code)}",
            f"style-src {_hash(chart_style)} {_hash(style)} {_hash(svg_plot.STYLE)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    title, *lines = map(escape, data.headings())
    return Template(_file("page.html") + "\n").substitute(
        policy=policy,
        title=title,
        lines="\n".join(f"<p>{line}</p>" for line in lines),
        rows="\n".join(_rows(data)),
        picture=svg_plot.svg(data),
        data=json.dumps(_content(data)).replace("<", "\\u003c"),  # no text of the network can end the element
        chart_code=chart_code,
        chart_style=chart_style,
        licence=(CHART / "LICENSE").read_text("utf-8").strip(),
        code=code,
        style=style,
    )


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8").strip()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _rows(data: PlotData) -> Iterator[str]:
    times = data.times
    if not times.total:
        yield "<tr><th>replies</th><td>0</td></tr>"
        return
    shares = [(name, share) for name, share in ROWS if (1 - share) * times.total >= 0.999]  # others are the maximum
    values = [("min", times.minimum), *((name, times.percentile(share)) for name, share in shares)]
    values.append(("max", times.maximum))
    for name, value in values:
        yield f"<tr><th>{name}</th><td>{latency_text(value)}</td></tr>"


def _content(data: PlotData) -> dict[str, Any]:
    """The numbers of the charts; latencies are in nanoseconds."""
    latency = latency_axis(data.times.minimum, data.times.maximum) if data.times.total else latency_axis(10**5, 10**8)
    _, unit = time_axis(data.span)
    points = data.distribution()
    percentile = percentile_axis(points[-1][0] if points else 1)
    columns: list[list[float | int | None]] = [[] for _ in range(6)]
    for start, interval in data.series:
        times = interval.times
        known = (times.maximum, times.percentile(0.99), times.percentile(0.5), times.minimum)
        values = known if times.total else (None,) * 4
        row = (round((start + data.series.width / 2) / SECONDS[unit], 6), *values, interval.lost)
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return {
        "unit": UNITS.get(unit, unit),
        "span": data.span / SECONDS[unit],
        "time": columns,
        "range": [latency.low, latency.high],
        "ticks": latency.ticks,
        "distribution": [[round(x, 6) for x, _ in points], [value for _, value in points]],
        "inverse": [percentile.low, percentile.high],
        "percentiles": percentile.ticks,
    }
