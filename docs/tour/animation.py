"""Draws a cast as an SVG that plays it: a strip of screens, moved by CSS. Without motion it shows one screen.

Rows that are equal are drawn once. A program that shows SVG without CSS animations shows the first screen.
"""

from __future__ import annotations

from html import escape
from typing import Any, Final, NamedTuple

from docs.tour.recorder import COLUMNS, ROWS, Cast

SIZE: Final = 14.0  #: of the text, in pixels
CELL: Final = 8.4  #: width of a character
LINE: Final = 18.0  #: height of a row
EDGE: Final = 14.0  #: around the screen
APART: Final = 0.25  #: seconds: changes that are nearer to each other are one screen
END: Final = 4.0  #: seconds that the last screen stays
FONT: Final = "ui-monospace, 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace"
BACKGROUND: Final = "#15191e"
TEXT: Final = "#e8ecf0"
COLOURS: Final = {
    "green": "#6fcf97",
    "red": "#ff9d94",
    "brown": "#e5c07b",  # pyte's name of yellow
    "blue": "#7fb2ff",
    "magenta": "#c3a2f0",
    "cyan": "#6fd3d8",
    "black": "#98a2ad",
    "white": "#e8ecf0",
}


class Run(NamedTuple):
    """Characters of a row with the same look."""

    column: int
    text: str
    colour: str
    bold: bool


Row = tuple[Run, ...]


class Screen(NamedTuple):
    """The rows of the terminal from this time on, and where its cursor is."""

    at: float
    rows: tuple[Row, ...]
    cursor: tuple[int, int] | None


def screens(cast: Cast) -> list[Screen]:
    """The screens that the cast shows, each for APART seconds at least."""
    import pyte  # only a developer's environment has it, and the package is tested without

    terminal = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.Stream(terminal)
    found: list[Screen] = []
    for number, (at, _, data) in enumerate(cast.events):
        stream.feed(data)
        if number + 1 < len(cast.events) and cast.events[number + 1][0] - (found[-1].at if found else 0.0) < APART:
            continue
        cursor = None if terminal.cursor.hidden else (terminal.cursor.x, terminal.cursor.y)
        shown = Screen(at, tuple(_row(terminal.buffer[line]) for line in range(ROWS)), cursor)
        if not found or found[-1][1:] != shown[1:]:
            found.append(shown)
    return found


def _row(cells: Any) -> Row:
    """The runs of a row, without blanks at its end."""
    runs: list[Run] = []
    for column in range(COLUMNS):
        cell = cells[column]
        look = (COLOURS.get(cell.fg, TEXT), bool(cell.bold))
        if runs and (runs[-1].colour, runs[-1].bold) == look:
            runs[-1] = runs[-1]._replace(text=runs[-1].text + cell.data)
        else:
            runs.append(Run(column, cell.data, *look))
    while runs and not runs[-1].text.strip():
        runs.pop()
    if runs:
        runs[-1] = runs[-1]._replace(text=runs[-1].text.rstrip())
    return tuple(runs)


def drawn(cast: Cast, still: int, title: str, description: str) -> str:
    """The picture. `still` is the number of the screen that is shown without motion."""
    strip = screens(cast)
    length = strip[-1].at + END
    width, height = COLUMNS * CELL + 2 * EDGE, ROWS * LINE + 2 * EDGE
    names: dict[Row, str] = {}
    frames = []
    for number, screen in enumerate(strip):
        parts = [
            f'<use href="#{names.setdefault(row, f"r{len(names)}")}" y="{line * LINE:g}"/>'
            for line, row in enumerate(screen.rows)
            if row
        ]
        if screen.cursor:
            x, y = screen.cursor
            parts.append(f'<rect class="c" x="{x * CELL:g}" y="{y * LINE:g}" width="{CELL:g}" height="{LINE:g}"/>')
        frames.append(f'<g transform="translate({number * width:g})">{"".join(parts)}</g>')
    rows = "".join(f'<g id="{name}">{"".join(map(_run, row))}</g>' for row, name in names.items())
    moves = "".join(
        f"{screen.at / length * 100:.3f}%{{transform:translateX({-number * width:g}px)}}"
        for number, screen in enumerate(strip)
    )
    colours = "".join(f".{name}{{fill:{colour}}}" for name, colour in COLOURS.items())
    style = (
        f"text{{font:{SIZE:g}px {FONT};fill:{TEXT};white-space:pre}}{colours}.bold{{font-weight:700}}"
        f".c{{fill:{TEXT};opacity:.5}}"
        f".s{{animation:t {length:.2f}s step-end infinite}}@keyframes t{{{moves}}}"
        f"@media(prefers-reduced-motion:reduce){{.s{{animation:none;transform:translateX({-still * width:g}px)}}}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
        f' height="{height:g}" role="img" aria-labelledby="title" aria-describedby="desc">\n'
        f'<title id="title">{escape(title)}</title>\n'
        f'<desc id="desc">{escape(description)}</desc>\n<style>{style}</style>\n<defs>{rows}</defs>\n'
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{BACKGROUND}"/>\n'
        f'<svg x="{EDGE:g}" y="{EDGE:g}" width="{width - 2 * EDGE:g}" height="{height - 2 * EDGE:g}"><g class="s">\n'
        + "\n".join(frames)
        + "\n</g></svg>\n</svg>\n"
    )


def _run(run: Run) -> str:
    """A run of characters as wide as its cells, in any font."""
    if not run.text.strip():
        return ""
    names = [name for name, colour in COLOURS.items() if colour == run.colour and run.colour != TEXT]
    look = " ".join([*names, *(["bold"] if run.bold else [])])
    style = f' class="{look}"' if look else ""
    return (
        f'<text x="{run.column * CELL:g}" y="{LINE - 4:g}" textLength="{len(run.text) * CELL:g}"{style}>'
        f"{escape(run.text)}</text>"
    )
