"""The formats of a file with a plot, by its ending: SVG, PNG or a web page."""

from __future__ import annotations

import importlib
from typing import Any, Final

from echod.client.plots import html_page, svg_plot
from echod.client.plots.plot_data import PlotData

PIXELS: Final = 2 * svg_plot.WIDTH  #: width of a PNG
MISSING: Final = "PNG needs CairoSVG, which is not installed: pip install cairosvg, or choose .svg or .html"


class CannotDraw(Exception):
    """A format needs a library that is not installed."""


def check_format(name: str) -> None:
    """Raise CannotDraw if the format of this file cannot be drawn. Call it before the measurement."""
    if name.endswith(".png"):
        _cairosvg()


def drawn(name: str, data: PlotData) -> bytes:
    """The content of a file with this name. Raises CannotDraw."""
    if name.endswith(".html"):
        return html_page.html(data).encode()
    picture = svg_plot.svg(data).encode()
    if name.endswith(".png"):
        png: bytes = _cairosvg().svg2png(bytestring=picture, output_width=PIXELS)
        return png
    return picture


def _cairosvg() -> Any:
    try:
        return importlib.import_module("cairosvg")
    except (ImportError, OSError):  # OSError: the system's cairo is missing
        raise CannotDraw(MISSING) from None
