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
from rich.screen import Screen
from rich.text import Text

from echod.client.plots.terminal_plot import Line, Role
from echod.client.stdout import put, write_all
from echod.client.tables import screen
from echod.lineedit.raw_mode import KeyByKey

EVERY: Final = 0.25  #: seconds between two drawings
HOME: Final = b"\x1b[H"
ENTER: Final = b"\x1b[?1049h" + HOME + b"\x1b[?25l"
"""Changes to the alternate screen, and hides the cursor (xterm's control sequences)."""
LEAVE: Final = b"\x1b[?25h\x1b[?1049l"
STYLES: Final = {Role.TEXT: "", Role.AXIS: "", Role.RANGE: "blue", Role.MEDIAN: "cyan", Role.LOST: "red"}


class LiveScreen:
    """A screen of its own on the terminal at standard output.

    Typed keys do not appear in it. `keyboard` is the descriptor of their terminal, by default standard output.

    A signal may interrupt a drawing at any point, and its handler restores the terminal. Therefore nothing is written
    through rich or a buffered stream, which refuse or delay a write within another.
    """

    def __init__(self, color: str, keyboard: int | None = None) -> None:
        self._color = color
        self._entered = False
        self._drawn = Group()
        self._keyboard = sys.stdout.fileno() if keyboard is None else keyboard
        self._keys = KeyByKey(self._keyboard, self._enter, self._leave)

    def begin(self) -> None:
        """Change to the screen. It gets UTF-8 in any locale, as all output of echoctl."""
        sys.stdout.flush()
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        self._keys.begin()

    def draw(self, drawn: Group) -> None:
        """Show this instead of what is shown."""
        self._drawn = drawn
        if self._entered:
            console = screen(self._color, live=True)
            with console.capture() as captured:
                console.print(Screen(drawn), end="")
            put(HOME + captured.get().encode("utf-8", "backslashreplace"))

    def plot(self, lines: Sequence[Line]) -> None:
        """Show the lines of a plot, from the top."""
        self.draw(Group(*map(_characters, lines)))

    def end(self) -> None:
        """Change back, once. Keys that were typed are dropped."""
        self._keys.end()

    def _enter(self) -> None:
        self._entered = True
        put(ENTER)
        self.draw(self._drawn)

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            with suppress(OSError):  # the terminal was closed
                write_all(LEAVE)
        with suppress(termios.error):
            termios.tcflush(self._keyboard, termios.TCIFLUSH)


def _characters(line: Line) -> Text:
    found = Text(no_wrap=True, overflow="crop")
    for span in line:
        found.append(span.text, STYLES[span.role])
    return found
