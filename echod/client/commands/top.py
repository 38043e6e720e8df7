"""`echoctl top`: shows rates of the running daemon, updated every second; `q` or Ctrl-C leaves."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group

from echod.client import top_rates
from echod.client.admin import Administrator, RequestRefused, Unanswered, find_admin, parsing_response
from echod.client.live_screen import LiveScreen
from echod.client.stdout import fail, put_text
from echod.client.tables import line, screen, show, table
from echod.client.top_rates import CONNECTION_ORDERS, COUNTED, ORDERS, Rates, Row
from echod.client.top_screen import HEADINGS, VIEWS, cells, drawn
from echod.escaping import escaped

EVERY: Final = 1.0  #: seconds
SHARE: Final = 10  #: the daemon has this many times the duration of an answer until the next request
CANDIDATES: Final = 200  #: connections with the most bytes, of which the busiest are shown
ENDING: Final = (signal.SIGINT, signal.SIGTERM)  #: their default action would not restore the terminal

LEAVE: Final = (b"q", b"Q", b"\x03", b"\x04", b"")
NEXT: Final = (b">", b".", b"\x1b[C", b"\x1bOC")
PREVIOUS: Final = (b"<", b",", b"\x1b[D", b"\x1bOD")
KEY: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)|.", re.DOTALL)
"""One key: a control sequence (ECMA-48 5.4), a byte after SS3, or a byte. With Alt, a key has an ESC before it."""
BEGUN: Final = re.compile(rb"\x1b(?:\[[0-?]{0,30}[ -/]{0,2}|O)?\Z")
"""The begin of a control sequence whose other bytes were not read yet. A longer one is not a key."""
TYPED: Final = 4096  #: bytes of keys that are handled before the next frame; a terminal of Linux holds no more


def run(arguments: argparse.Namespace) -> int:
    """Draw until the user leaves, or print once, and return 0; or report the error and return 1."""
    once = arguments.once or arguments.json or arguments.json_lines
    if not once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        fail("top: standard input or output is not a terminal; use --once, --json or --json-lines")
        return 1
    try:
        address = find_admin(arguments)
        with Administrator(address, patience=5.0) as administrator, parsing_response(address):
            watched = Watched(administrator, arguments.by, arguments.sort, backwards=arguments.reverse)
            watched.ask()  # before the alternate screen: an error stays visible
            if once:
                _print(watched, arguments)
            else:
                with View(arguments.color) as view, contextlib.suppress(KeyboardInterrupt):
                    _watch(watched, view)
    except (Unanswered, RequestRefused) as error:
        fail(escaped(str(error)))
        return 1
    return 0


class Watched:
    """The figures of the daemon, and what is shown of them."""

    def __init__(self, administrator: Administrator, view: str, order: str | None, *, backwards: bool = False) -> None:
        self._administrator = administrator
        self._rates = {name: Rates() for name in VIEWS}
        self._connections: Sequence[Row] = ()
        self._rows: Mapping[str, list[Row]] = {}
        self._orders = {name: orders_of(name)[0] for name in VIEWS}
        self.view = view
        self.backwards = backwards
        self.status: Mapping[str, Any] = {}
        self.took = 0.0  #: seconds that the last answer took
        if order is not None:
            self._orders[view] = order

    @property
    def order(self) -> str:
        """The order of the rows of this view."""
        return self._orders[self.view]

    def ask(self) -> None:
        """Request the figures of now. Raises Unanswered or RequestRefused."""
        begun = time.monotonic()
        self.status = self._administrator.ask("/api/status")
        now = time.monotonic()
        self._rows = {
            "listeners": self._rates["listeners"].rows(top_rates.listeners(self.status), now),
            "services": self._rates["services"].rows(top_rates.services(self.status), now),
        }
        if self.view == "connections":
            order = "bytes" if self.order == "busy" else self.order
            listed = self._administrator.ask(f"/api/connections?sort={order}&limit={CANDIDATES}")
            self._connections = self._rates["connections"].rows(top_rates.connections(listed), time.monotonic())
        self.took = time.monotonic() - begun

    def rows(self) -> list[Row]:
        """The rows of this view, in its order."""
        if self.view != "connections":
            return top_rates.ordered(self._rows[self.view], self.order, backwards=self.backwards)
        rows = list(self._connections)
        if self.order == "busy":
            rows.sort(key=lambda row: -(row.a_second["in"] + row.a_second["out"]))
        return rows[::-1] if self.backwards else rows

    def everything(self) -> Row:
        """The sums of all listeners."""
        return top_rates.total(self._rows["listeners"])

    def change(self, key: bytes) -> None:
        """Change what is shown as a key asks; other keys are ignored."""
        if key == b"\t":
            self.view = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]
        elif key in (b"l", b"s", b"c"):
            self.view = next(name for name in VIEWS if name.startswith(key.decode()))
        elif key in (b"r", b"R"):
            self.backwards = not self.backwards
        elif key in NEXT or key in PREVIOUS:
            self.sort_by_next(1 if key in NEXT else -1)

    def sort_by_next(self, step: int) -> None:
        """Sort by the next of the orders, or by the one before for a `step` of -1."""
        orders = orders_of(self.view)
        self._orders[self.view] = orders[(orders.index(self.order) + step) % len(orders)]


def orders_of(view: str) -> tuple[str, ...]:
    """The orders of a view; the first one is its default."""
    return ("busy", *CONNECTION_ORDERS) if view == "connections" else ORDERS


def _watch(watched: Watched, view: View) -> None:
    """Draw every second until `q` is pressed. Raises Unanswered if the daemon no longer responds."""
    stopped, keyboard = False, Keyboard()
    due = time.monotonic() + EVERY
    while True:
        view.draw(screenful(watched, stopped=stopped))
        before = watched.view, watched.order
        for key in keyboard.pressed(max(due - time.monotonic(), 0.0)):
            if key in LEAVE:
                return
            if key == b" ":
                stopped = not stopped
            else:
                watched.change(key)
        other = watched.view == "connections" and before != (watched.view, watched.order)
        if other or (time.monotonic() >= due and not stopped):
            watched.ask()
        if time.monotonic() >= due:
            due = time.monotonic() + max(EVERY, SHARE * watched.took)


def _print(watched: Watched, arguments: argparse.Namespace) -> None:
    """Print the rates of one second; with --json-lines, of each second until the program is interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            then = time.monotonic()
            select.select([], [], [], max(EVERY, SHARE * watched.took) if arguments.json_lines else EVERY)
            watched.ask()
            if arguments.json or arguments.json_lines:
                put_text(json.dumps(as_json(watched, time.monotonic() - then)) + "\n")
            else:
                console = screen(arguments.color)
                rows = [cells(watched.view, row) for row in watched.rows()]
                for part in (line(f"{watched.view} by {watched.order}"), table(HEADINGS[watched.view], rows)):
                    show(console, part)
            if not arguments.json_lines:
                return


def as_json(watched: Watched, seconds: float) -> dict[str, Any]:
    """The rows as values of JSON: the names, the figures, and each figure's rate as `in_per_second`."""
    rows = []
    for row in watched.rows():
        rates = {f"{key}_per_second": round(rate, 3) for key, rate in row.a_second.items() if key in COUNTED}
        rows.append({**dict(zip(NAMES, row.identity, strict=False)), **row.figures, **rates})
    return {"seconds": round(seconds, 3), "by": watched.view, "sort": watched.order, "rows": rows}


NAMES: Final = ("service", "address", "peer")


class Keyboard:
    """The keys that are typed on the terminal at standard input."""

    def __init__(self) -> None:
        self._begun = b""  # of a control sequence

    def pressed(self, seconds: float) -> list[bytes]:
        """The keys pressed until now, or the first within `seconds`; b"" if the terminal was closed."""
        if not select.select([sys.stdin], [], [], seconds)[0]:
            return []
        read = os.read(sys.stdin.fileno(), TYPED)
        if not read:
            return [b""]
        typed = self._begun + read
        begun = BEGUN.search(typed)
        self._begun = begun[0] if begun is not None else b""
        return KEY.findall(typed.removesuffix(self._begun))


class View(LiveScreen):
    """A context manager for the alternate screen and key-by-key input.

    The terminal is restored at the end, and while the process is stopped.
    """

    def __init__(self, color: str) -> None:
        super().__init__(color, sys.stdin.fileno())

    def __enter__(self) -> View:
        for number in ENDING:
            signal.signal(number, signal.default_int_handler)
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)  # a second signal would interrupt the restoring
        self.end()


def screenful(watched: Watched, *, stopped: bool = False) -> Group:
    """One screen, in the size that the terminal has now."""
    columns, lines = shutil.get_terminal_size((80, 24))
    sums, order = watched.everything(), watched.order
    return drawn(
        watched.status, watched.view, watched.rows(), columns, lines, order=order, stopped=stopped, everything=sums
    )
