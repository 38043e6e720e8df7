"""The screen of `echoctl top`, and its table, for a terminal of any width."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from echod.client.commands.status import size, span
from echod.client.tables import ALARM, GAP, HEADING, QUIET, cut, cut_left, needed, table, widest, without
from echod.client.top_rates import BARS, KEPT, Row, sparkline, total
from echod.escaping import escaped

HEADINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "listeners": ("SERVICE", "ADDRESS", "OPEN", "NEW/s", "DGRAM/s", "IN/s", "OUT/s", "REFUSED/s"),
    "services": ("SERVICE", "OPEN", "NEW/s", "DGRAM/s", "IN/s", "OUT/s", "REFUSED/s"),
    "connections": ("SERVICE", "PEER", "ADDRESS", "IN/s", "OUT/s", "IN", "OUT", "UNSENT"),
}
VIEWS: Final = tuple(HEADINGS)
SPARED: Final[Mapping[str, tuple[str, ...]]] = {
    "listeners": ("NEW/s", "DGRAM/s", "REFUSED/s", "OUT/s"),
    "services": ("NEW/s", "DGRAM/s", "REFUSED/s", "OUT/s"),
    "connections": ("ADDRESS", "IN/s", "OUT/s", "OUT"),
}
"""Columns that a narrow terminal leaves out, in this order."""
FEW_KEYS: Final = "q quits"  #: the part of KEYS that a narrow terminal shows
HISTORY: Final = "LAST MINUTE"
KEYS: Final = "q quits, Tab view, < > sort, r reverse, Space stop"


def cells(view: str, row: Row) -> tuple[str, ...]:
    """A row of the table, as text."""
    rate, figures = row.a_second, row.figures
    if view == "connections":
        service, address, peer = row.identity
        sizes = (size(figures["in"]), size(figures["out"]), size(figures["unsent"]))
        return (service, peer, address, size(rate["in"]), size(rate["out"]), *sizes)
    return (
        *row.identity,
        f"{figures['open']:,}",
        f"{rate['new']:,.0f}",
        f"{rate['datagrams']:,.0f}",
        size(rate["in"]),
        size(rate["out"]),
        f"{rate['refused']:,.0f}",
    )


def drawn(
    status: Mapping[str, Any],
    view: str,
    rows: Sequence[Row],
    columns: int,
    lines: int,
    *,
    order: str = "busy",
    stopped: bool = False,
    everything: Row | None = None,
) -> Group:
    """One screen of the given size. `everything` are the sums of all listeners, by default of the rows."""
    state = "ready" if status["ready"] else "NOT READY"
    paused = "  stopped: Space continues" if stopped else ""
    up = f"up {span(status['uptime'])}{paused}"
    heads = (
        f"echod {status['version']}  {state}  process {status['pid']:d}  {up}   {KEYS}",
        f"echod {status['version']}  {state}  {up}   {KEYS}",
        f"echod  {state}  {up}   {FEW_KEYS}",
    )
    head = next((one for one in heads if len(escaped(one)) <= columns), heads[-1])
    top = _line(head, QUIET if status["ready"] else ALARM)
    return Group(
        top, _summary(view, order, everything or total(rows), columns), fitted_rows(view, rows, columns, lines)
    )


def _summary(view: str, order: str, everything: Row, columns: int) -> Text:
    """The line with the sums of all listeners."""
    figures, rate = everything.figures, everything.a_second
    parts = [
        f"{view} by {order}",
        f"open {figures.get('open', 0):,}",
        f"in {size(rate.get('in', 0))}/s",
        f"out {size(rate.get('out', 0))}/s",
        f"refused {rate.get('refused', 0):,.0f}/s",
    ]
    text = "  ".join(parts)
    room = columns - len(text) - GAP
    if room >= len(HISTORY) and _can_draw():
        text += " " * GAP + sparkline(everything.history, min(room, KEPT))
    return _line(text, HEADING)


def _line(text: str, style: str) -> Text:
    return Text(escaped(text), style, no_wrap=True, overflow="ellipsis")


def fitted_rows(view: str, rows: Sequence[Row], columns: int, lines: int) -> RenderableType:
    """The table of a screen: without columns that do not fit, with short addresses, and with sparklines if they do."""
    headings = HEADINGS[view]
    shown = [cells(view, row) for row in rows[: max(lines - 3, 0)]]
    if needed(headings, shown) > columns:
        shown = shortened(headings, shown)
    left_out: set[int] = set()
    narrow, names = shown, headings
    for spared in (None, *SPARED[view]):
        left_out |= set() if spared is None else {headings.index(spared)}
        names = tuple(without(headings, left_out))
        narrow = [tuple(without(row, left_out)) for row in shown]
        if needed(names, narrow) <= columns:
            break
    if (lacking := needed(names, narrow) - columns) > 0:
        narrow = cut_to(names, narrow, lacking)
    room = columns - needed(names, narrow) - GAP
    if room >= len(HISTORY) and rows and _can_draw():
        names = (*names, HISTORY)
        narrow = [(*cell, sparkline(row.history, min(room, KEPT))) for cell, row in zip(narrow, rows, strict=False)]
    return table(names, narrow)


def _can_draw() -> bool:
    """Whether standard output can encode the bars of a sparkline."""
    try:
        BARS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def cut_to(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], lacking: int) -> list[tuple[str, ...]]:
    """Cut the first two columns by `lacking` columns in all. A third of the remaining width is for the first.

    If the second is a number, only the first is cut.
    """
    if headings[1] not in ("ADDRESS", "PEER"):
        room = max(widest(headings[0], [row[0] for row in rows]) - lacking, len(headings[0]))
        return [(cut(row[0], room), *row[1:]) for row in rows]
    name, address = (widest(headings[at], [row[at] for row in rows]) for at in (0, 1))
    room = name + address - lacking
    first = max(min(name, room // 3), room - address, len(headings[0]))
    second = max(room - first, len(headings[1]))
    return [(cut(row[0], first), cut_left(row[1], second), *row[2:]) for row in rows]


def shortened(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The rows with short addresses, except addresses of one service that would then look the same."""
    if "ADDRESS" not in headings:
        return list(rows)
    at = headings.index("ADDRESS")
    whole = {(row[0], row[at]) for row in rows}
    brief = [(service, short(address)) for service, address in whole]
    return [
        (*row[:at], row[at] if brief.count((row[0], short(row[at]))) > 1 else short(row[at]), *row[at + 1 :])
        for row in rows
    ]


def short(address: str) -> str:
    """An address without its host, or without its folder: `tcp :7`, `unix echo.sock`."""
    if inet := re.match(r"(\w+)://.*(:\d+)$", address):
        return f"{inet[1]} {inet[2]}"
    if path := re.match(r"([\w-]+)://(?:.*/)?([^/]+)$", address):
        return f"{path[1]} {path[2]}"
    return address
