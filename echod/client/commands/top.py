"""`echoctl top`: shows rates of the running daemon, updated every second; `q` or Ctrl-C leaves."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Group
from rich.live import Live
from rich.text import Text

from echod.client.admin import Administrator, RequestRefused, Unanswered, find_admin, parsing_response
from echod.client.commands.status import size, span
from echod.client.stdout import fail
from echod.client.tables import ALARM, QUIET, cut, cut_left, needed, screen, table, widest, without
from echod.escaping import escaped
from echod.lineedit.raw_mode import KeyByKey

EVERY: Final = 1.0  #: seconds
HEADINGS: Final = ("SERVICE", "ADDRESS", "OPEN", "NEW/s", "DGRAM/s", "IN/s", "OUT/s", "REFUSED/s")
SPARED: Final = (3, 4, 7, 6)  #: columns that a narrow terminal leaves out, in this order
ENDING: Final = (signal.SIGINT, signal.SIGTERM)  #: their default action would not restore the terminal

CountersOf = Mapping[tuple[str, str], Mapping[str, int]]


def run(arguments: argparse.Namespace) -> int:
    """Draw until the user leaves and return 0, or report the error and return 1."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fail("top: standard input or output is not a terminal; use `echoctl status --json` in programs")
        return 1
    try:
        address = find_admin(arguments)
        with Administrator(address, patience=5.0) as administrator, parsing_response(address):
            status = administrator.ask("/api/status")  # before the alternate screen: an error stays visible
            counters(status)
            with View(arguments.color) as view, contextlib.suppress(KeyboardInterrupt):
                watch(administrator, status, view)
    except (Unanswered, RequestRefused) as error:
        fail(escaped(str(error)))
        return 1
    return 0


def watch(administrator: Administrator, status: Mapping[str, Any], view: View) -> None:
    """Draw every second until `q` is pressed. Raises Unanswered if the daemon no longer responds."""
    before, then = counters(status), time.monotonic()
    while True:
        now = time.monotonic()
        after = counters(status)
        view.draw(status, list(rates(before, after, max(now - then, 1e-3))))
        before, then = after, now
        if pressed(EVERY) in (b"q", b"Q", b"\x03", b"\x04", b""):
            return
        status = administrator.ask("/api/status")


def counters(status: Mapping[str, Any]) -> CountersOf:
    """The counters and open connections of each listener, by service and address."""
    return {
        (service["name"], one["address"]): {
            "open": one["open"],
            "new": one["accepted"],
            "datagrams": one["datagrams_in"],
            "in": one["bytes_in"],
            "out": one["bytes_out"],
            "refused": sum(one["refused"].values()),
        }
        for service in status["services"]
        for one in service["listeners"]
    }


def rates(before: CountersOf, after: CountersOf, seconds: float) -> Iterator[tuple[str, ...]]:
    """A row of rates for each listener, the busiest first. A new listener has no rate yet."""

    def busy(item: tuple[tuple[str, str], Mapping[str, int]]) -> tuple[int, str]:
        was = before.get(item[0], item[1])
        return -(item[1]["in"] - was["in"] + item[1]["refused"] - was["refused"]), item[0][0]

    for (name, address), figures in sorted(after.items(), key=busy):
        was = before.get((name, address), figures)
        a_second = {key: (figures[key] - was[key]) / seconds for key in figures}
        yield (
            name,
            address,
            f"{figures['open']:,}",
            f"{a_second['new']:,.0f}",
            f"{a_second['datagrams']:,.0f}",
            size(a_second["in"]),
            size(a_second["out"]),
            f"{a_second['refused']:,.0f}",
        )


def drawn(status: Mapping[str, Any], rows: Sequence[tuple[str, ...]], columns: int, lines: int) -> Group:
    """One screen of the given size."""
    state = "ready" if status["ready"] else "NOT READY"
    head = f"echod {status['version']}  {state}  process {status['pid']:d}  up {span(status['uptime'])}   q leaves"
    style = QUIET if status["ready"] else ALARM
    top = Text(escaped(head), style, no_wrap=True, overflow="ellipsis")
    shown = list(rows)
    left_out: set[int] = set()
    if needed(HEADINGS, shown) > columns:
        shown = shortened(shown)
    headings: tuple[str, ...] = HEADINGS
    narrow: list[tuple[str, ...]] = shown
    for at in (None, *SPARED):
        left_out |= set() if at is None else {at}
        headings = tuple(without(HEADINGS, left_out))
        narrow = [tuple(without(row, left_out)) for row in shown]
        if needed(headings, narrow) <= columns:
            break
    if (lacking := needed(headings, narrow) - columns) > 0:
        narrow = cut_to(headings, narrow, lacking)
    return Group(top, Text(""), table(headings, narrow[: max(lines - 3, 0)]))


def cut_to(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], lacking: int) -> list[tuple[str, ...]]:
    """Cut name and address by `lacking` columns in all. A third of the remaining width is for the name."""
    name, address = (widest(headings[at], [row[at] for row in rows]) for at in (0, 1))
    room = name + address - lacking
    first = max(min(name, room // 3), room - address, len(headings[0]))
    second = max(room - first, len(headings[1]))
    return [(cut(row[0], first), cut_left(row[1], second), *row[2:]) for row in rows]


def shortened(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The rows with short addresses, except addresses of one service that would then look the same."""
    brief = [(row[0], short(row[1])) for row in rows]
    return [
        (row[0], row[1] if brief.count(one) > 1 else one[1], *row[2:]) for row, one in zip(rows, brief, strict=True)
    ]


def short(address: str) -> str:
    """An address without its host, or without its folder: `tcp :7`, `unix echo.sock`."""
    if inet := re.match(r"(\w+)://.*(:\d+)$", address):
        return f"{inet[1]} {inet[2]}"
    if path := re.match(r"([\w-]+)://(?:.*/)?([^/]+)$", address):
        return f"{path[1]} {path[2]}"
    return address


def pressed(seconds: float) -> bytes | None:
    """The key pressed within `seconds`, or None; b"" if the terminal was closed."""
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return None
    return os.read(sys.stdin.fileno(), 1)


class View:
    """A context manager for the alternate screen and key-by-key input.

    The terminal is restored at the end, and while the process is stopped.
    """

    def __init__(self, color: str) -> None:
        self._color = color
        self._drawn: Group | None = None
        self._live: Live | None = None
        self._keys = KeyByKey(sys.stdin.fileno(), self._enter, self._leave)

    def __enter__(self) -> View:
        for number in ENDING:
            signal.signal(number, signal.default_int_handler)
        self._keys.begin()
        return self

    def __exit__(self, *_: object) -> None:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)  # a second signal would interrupt the restoring
        self._keys.end()

    def draw(self, status: Mapping[str, Any], rows: Sequence[tuple[str, ...]]) -> None:
        """Draw one screen, in the size that the terminal has now."""
        columns, lines = shutil.get_terminal_size((80, 24))
        self._drawn = drawn(status, rows, columns, lines)
        if self._live is not None:
            self._live.update(self._drawn, refresh=True)

    def _enter(self) -> None:
        self._live = Live(
            self._drawn or Text(""),
            console=screen(self._color, live=True),
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start(refresh=True)

    def _leave(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()
