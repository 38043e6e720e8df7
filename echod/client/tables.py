"""Tables and text in the columns of a terminal, by rich: wide characters count as the terminal draws them.

Only the commands that draw import this, because rich takes a tenth of a second. Text of peers and of the daemon is
escaped, and is never read as rich's markup: `[red]` in a name stays these five characters.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from echod.client.stdout import colored
from echod.text import escaped

UNBOUNDED: Final = 10_000  #: columns of a pipe or a file: nothing is wrapped or cut there
GAP: Final = 2  #: columns between two cells
INDENT: Final = 4  #: columns before the figures of a record
HEADING, ALARM, QUIET = "bold", "red", ""

Row = Sequence[str]


def screen(color: str, *, live: bool = False) -> Console:
    """Where to draw: standard output, in colors as `--color` says. `live` is for a view that follows its size."""
    paints = colored(color)
    return Console(
        file=sys.stdout,
        width=None if live else columns(),
        force_terminal=paints or live,
        color_system="standard" if paints else None,
        no_color=not paints,
        markup=False,
        emoji=False,
        highlight=False,
    )


def columns() -> int:
    """How wide standard output is."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else UNBOUNDED


def show(console: Console, drawn: RenderableType) -> None:
    """Print, without the blanks at the ends of lines. Raises OSError."""
    with console.capture() as captured:
        console.print(drawn)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def line(text: str, style: str = QUIET) -> Text:
    """One line of text, wrapped if there is no room for it."""
    return Text(escaped(text), style, overflow="fold")


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text in so many columns."""
    found = Text(escaped(text)).wrap(Console(width=width), width)
    return [part.plain.rstrip() for part in found]


def table(headings: Row, rows: Sequence[Row]) -> Table:
    """Columns: numbers to the right, words to the left. Without headings, pass empty strings."""
    drawn = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=any(headings), header_style=HEADING)
    for at, heading in enumerate(headings):
        right = _are_numbers([row[at] for row in rows])
        drawn.add_column(
            Text(heading), justify="right" if right else "left", no_wrap=any(headings) or at == 0, overflow="fold"
        )
    for row in rows:
        drawn.add_row(*(Text(escaped(cell)) for cell in row))
    return drawn


def records(headings: Row, rows: Sequence[Row], width: int) -> Group:
    """The same where a table has no room: the first two cells on a line, the others below, each with its heading."""
    drawn: list[RenderableType] = []
    for first, second, *figures in rows:
        drawn.append(line(f"{first}  {second}"))
        named = zip(headings[2:], figures, strict=True)
        parts = [f"{heading.lower()} {escaped(figure)}" for heading, figure in named if figure]
        drawn += [Text(f"{' ' * INDENT}{part}") for part in _flowed(parts, width - INDENT)]
    return Group(*drawn)


def _flowed(parts: Sequence[str], width: int) -> Iterator[str]:
    """Parts side by side in lines of so many columns; none is divided."""
    shown = ""
    for part in parts:
        if shown and cell_len(shown) + GAP + cell_len(part) > width:
            yield shown
            shown = ""
        shown += f"{' ' * GAP if shown else ''}{part}"
    if shown:
        yield shown


def fitted(headings: Row, rows: Sequence[Row], width: int) -> RenderableType:
    """A table if there is room for it, else records: nothing is left out."""
    return table(headings, rows) if needed(headings, rows) <= width else records(headings, rows, width)


def needed(headings: Row, rows: Sequence[Row]) -> int:
    """How many columns a table takes."""
    return sum(widest(heading, [row[at] for row in rows]) for at, heading in enumerate(headings)) + GAP * (
        len(headings) - 1
    )


def cut(text: str, width: int) -> str:
    """As much of a text from its beginning as fits, with a sign that something is missing."""
    shown = escaped(text)
    while cell_len(shown) > width:
        shown = f"{shown.removesuffix('…')[:-1]}…" if len(shown) > 1 else ""
    return shown


def cut_left(text: str, width: int) -> str:
    """The same from its end, which tells addresses apart."""
    shown = escaped(text)
    while cell_len(shown) > width:
        shown = f"…{shown.removeprefix('…')[1:]}" if len(shown) > 1 else ""
    return shown


def widest(heading: str, cells: Sequence[str]) -> int:
    """How many columns the widest cell of a column takes."""
    return max(map(cell_len, (heading, *map(escaped, cells))))


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(not cell or cell[0].isdigit() for cell in cells)


def without(row: Row, left_out: set[int]) -> Iterator[str]:
    """The cells of a row that are not left out."""
    return (cell for at, cell in enumerate(row) if at not in left_out)
