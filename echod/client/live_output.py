"""`ping --live`: the last minute as a graph that is drawn again four times a second, and the summary at the end.

The graph has a screen of its own (the alternate screen). The terminal is restored at the end, after an error, and while
the process is stopped.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from rich.console import Group
from rich.live import Live
from rich.text import Text as Characters

from echod.client.ping_output import Text, seconds
from echod.client.plots.last_minute import LastMinute
from echod.client.plots.terminal_plot import Line, Role
from echod.client.probe_ledger import ProbeResult, ReplyClass
from echod.client.tables import screen
from echod.lineedit.raw_mode import KeyByKey

EVERY: Final = 0.25  #: seconds between two drawings
STYLES: Final = {Role.TEXT: "", Role.AXIS: "", Role.RANGE: "blue", Role.MEDIAN: "cyan", Role.LOST: "red"}


class LiveScreen:
    """A screen of its own on the terminal at standard output."""

    def __init__(self, color: str) -> None:
        self._color = color
        self._live: Live | None = None
        self._drawn = Group()
        self._keys = KeyByKey(sys.stdout.fileno(), self._enter, self._leave)  # typed keys must not appear in it

    def begin(self) -> None:
        """Change to the screen."""
        self._keys.begin()

    def draw(self, lines: Sequence[Line]) -> None:
        """Show these lines, from the top."""
        self._drawn = Group(*map(_characters, lines))
        if self._live is not None:
            self._live.update(self._drawn, refresh=True)

    def end(self) -> None:
        """Change back, once. Keys that were typed are dropped."""
        self._keys.end()

    def _enter(self) -> None:
        self._live = Live(
            self._drawn,
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
            with suppress(OSError):  # the terminal was closed
                live.stop()
        with suppress(termios.error):
            termios.tcflush(sys.stdout.fileno(), termios.TCIFLUSH)


class LiveOutput(Text):
    """Draws the last minute while the ping runs. The summary is printed as without it."""

    def __init__(self, arguments: argparse.Namespace, reactor: Any) -> None:
        super().__init__(argparse.Namespace(**{**vars(arguments), "quiet": True}), seconds)
        self._reactor = reactor
        self._screen_of_its_own = LiveScreen(arguments.color)
        self._minute: LastMinute | None = None
        self._timer: Any = None

    def started(self, label: str, what: str, interval: float) -> None:
        self._minute = LastMinute(f"{label}: {what}   (Ctrl-C ends)")
        self._screen_of_its_own.begin()
        self._draw()

    def reply(self, finding: ProbeResult, remote: str, *, connecting: bool) -> None:
        if self._minute is None:
            return
        if finding.kind in (ReplyClass.RECEIVED, ReplyClass.REORDERED) and finding.seconds is not None:
            self._minute.received(self._reactor.seconds() - finding.seconds, finding.seconds)
        if finding.kind is ReplyClass.WRONG:
            self._minute.notice = f"wrong reply from {remote}: {finding.error}"

    def lost(self, number: int, why: str, remote: str, *, told: bool = False) -> None:
        if self._minute is not None:
            self._minute.lost(self._reactor.seconds())
            self._minute.notice = f"seq={number} lost: {why}"

    def ended(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._screen_of_its_own.end()

    def _draw(self) -> None:
        assert self._minute is not None, "drawn before the start"
        columns, rows = shutil.get_terminal_size((80, 24))
        self._screen_of_its_own.draw(self._minute.lines(self._reactor.seconds(), columns, rows))
        self._timer = self._reactor.callLater(EVERY, self._draw)


def _characters(line: Line) -> Characters:
    found = Characters(no_wrap=True, overflow="crop")
    for span in line:
        found.append(span.text, STYLES[span.role])
    return found
