"""A screen of its own on the terminal (the alternate screen), which rich draws.

The terminal is restored at the end, after an error, and while the process is stopped.
"""

from __future__ import annotations

import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Final

from rich.console import Group
from rich.live import Live
from rich.text import Text

from echod.client.plots.terminal_plot import Line, Role
from echod.client.tables import screen
from echod.lineedit.raw_mode import KeyByKey

EVERY: Final = 0.25  #: seconds between two drawings
STYLES: Final = {Role.TEXT: "", Role.AXIS: "", Role.RANGE: "blue", Role.MEDIAN: "cyan", Role.LOST: "red"}


class LiveScreen:
    """A screen of its own on the terminal at standard output.

    Typed keys do not appear in it. `keyboard` is the descriptor of their terminal, by default standard output.
    """

    def __init__(self, color: str, keyboard: int | None = None) -> None:
        self._color = color
        self._live: Live | None = None
        self._drawn = Group()
        self._keyboard = sys.stdout.fileno() if keyboard is None else keyboard
        self._keys = KeyByKey(self._keyboard, self._enter, self._leave)

    def begin(self) -> None:
        """Change to the screen. It gets UTF-8 in any locale, as all output of echoctl."""
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        self._keys.begin()

    def draw(self, drawn: Group) -> None:
        """Show this instead of what is shown."""
        self._drawn = drawn
        if self._live is not None:
            self._live.update(self._drawn, refresh=True)

    def plot(self, lines: Sequence[Line]) -> None:
        """Show the lines of a plot, from the top."""
        self.draw(Group(*map(_characters, lines)))

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
            termios.tcflush(self._keyboard, termios.TCIFLUSH)


def _characters(line: Line) -> Text:
    found = Text(no_wrap=True, overflow="crop")
    for span in line:
        found.append(span.text, STYLES[span.role])
    return found
