"""Tables and text for a terminal, drawn by rich: wide characters have the width that the terminal draws.

Only the commands that draw import this, because rich takes 0.1 s to import. Text of peers and of the daemon is escaped
and never parsed as rich's markup: `[red]` in a name stays as it is.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from rich.cells import cell_len, chop_cells
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from echod.client.stdout import colored
from echod.escaping import escaped
from echod.stdio import die_of_pipe

UNBOUNDED: Final = 10_000  #: columns of a pipe or a file, so that nothing is wrapped or cut
GAP: Final = 2  #: columns between cells
INDENT: Final = 4  #: columns before the figures of a record
HEADING, ALARM, QUIET = "bold", "red", ""

Row = Sequence[str]

_WIDE = "\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6"
_OPEN, _CLOSE = "（《「“", "，。、；：！？）》」”…"
_UNITS: Final = re.compile(rf"[{_OPEN}]*(?:[^\s{_WIDE}{_OPEN}{_CLOSE}]+|.)[{_CLOSE}]*\s*", re.DOTALL)
"""Parts of a text that stay on one line: a word, or a Han character, with the marks before and after it."""


class _Console(Console):
    """A console that ends the process by SIGPIPE at a closed pipe, as the other output does; rich exits with 1."""

    def on_broken_pipe(self) -> None:
        die_of_pipe()


def screen(color: str, *, live: bool = False) -> Console:
    """A console on standard output with the colors of `--color`. `live` follows the size of the terminal."""
    paints = colored(color)
    return _Console(
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
    """The width of standard output in columns."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else UNBOUNDED


def show(console: Console, drawn: RenderableType) -> None:
    """Print without trailing spaces. Raises OSError."""
    with console.capture() as captured:
        console.print(drawn)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def line(text: str, style: str = QUIET) -> Text:
    """One line of text, wrapped if it is too long."""
    return Text(escaped(text), style, overflow="fold")


def wrapped(text: str, width: int) -> list[str]:
    """A text wrapped to `width` columns: after a space, and between Han characters, but not before their commas."""
    found = [""]
    for unit in _UNITS.findall(escaped(text)):
        for piece in [unit] if cell_len(unit.rstrip()) <= width else chop_cells(unit, width):
            if found[-1] and cell_len(found[-1] + piece.rstrip()) > width:
                found.append("")
            found[-1] += piece
    return [part.rstrip() for part in found]


def table(headings: Row, rows: Sequence[Row]) -> Table:
    """A table: columns of numbers are right-aligned, others left-aligned. Pass empty strings for no headings."""
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
    """The rows as records, for a narrow terminal: two cells on a line, the others below it, each with its heading."""
    drawn: list[RenderableType] = []
    for first, second, *figures in rows:
        drawn.append(line(f"{first}  {second}"))
        named = zip(headings[2:], figures, strict=True)
        parts = [f"{heading.lower()} {escaped(figure)}" for heading, figure in named if figure]
        drawn += [Text(f"{' ' * INDENT}{part}") for part in _flowed(parts, width - INDENT)]
    return Group(*drawn)


def _flowed(parts: Sequence[str], width: int) -> Iterator[str]:
    """Lines of at most `width` columns with as many parts as fit; no part is split."""
    shown = ""
    for part in parts:
        if shown and cell_len(shown) + GAP + cell_len(part) > width:
            yield shown
            shown = ""
        shown += f"{' ' * GAP if shown else ''}{part}"
    if shown:
        yield shown


def fitted(headings: Row, rows: Sequence[Row], width: int) -> RenderableType:
    """A table if it fits, otherwise records."""
    return table(headings, rows) if needed(headings, rows) <= width else records(headings, rows, width)


def needed(headings: Row, rows: Sequence[Row]) -> int:
    """The width of a table in columns."""
    return sum(widest(heading, [row[at] for row in rows]) for at, heading in enumerate(headings)) + GAP * (
        len(headings) - 1
    )


def cut(text: str, width: int) -> str:
    """A text cut at its end to fit, marked with `…`."""
    shown = escaped(text)
    while cell_len(shown) > width:
        shown = f"{shown.removesuffix('…')[:-1]}…" if len(shown) > 1 else ""
    return shown


def cut_left(text: str, width: int) -> str:
    """A text cut at its start to fit, marked with `…`: addresses differ at their ends."""
    shown = escaped(text)
    while cell_len(shown) > width:
        shown = f"…{shown.removeprefix('…')[1:]}" if len(shown) > 1 else ""
    return shown


def widest(heading: str, cells: Sequence[str]) -> int:
    """The width of a column: that of its widest cell or heading."""
    return max(map(cell_len, (heading, *map(escaped, cells))))


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(not cell or (cell[0].isdigit() and ":" not in cell) for cell in cells)  # a peer has a colon


def without(row: Row, left_out: set[int]) -> Iterator[str]:
    """The cells of a row that are not left out."""
    return (cell for at, cell in enumerate(row) if at not in left_out)
