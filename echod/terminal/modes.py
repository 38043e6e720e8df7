"""A terminal's modes: key by key while a line is edited here, and as it was before, whatever happens."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import termios
from collections.abc import Callable
from typing import Any, Final

WIDE: Final = 80  #: columns of a terminal that does not say


class KeyByKey:
    """Takes a terminal out of its line mode; signals and output stay as they are. `drawn` is called when the process
    comes back from the background (Ctrl-Z, fg), where the shell has changed the modes again."""

    def __init__(self, descriptor: int, drawn: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._drawn = drawn
        self._before: list[Any] | None = None

    def begin(self) -> None:
        """Key by key from now on."""
        self._before = termios.tcgetattr(self._descriptor)
        self._set()
        atexit.register(self.end)
        signal.signal(signal.SIGCONT, self._continued)

    def end(self) -> None:
        """As it was."""
        if self._before is not None:
            before, self._before = self._before, None
            signal.signal(signal.SIGCONT, signal.SIG_DFL)
            atexit.unregister(self.end)
            try:
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, before)
            except termios.error:  # the terminal has gone
                pass

    def _set(self) -> None:
        modes = termios.tcgetattr(self._descriptor)
        modes[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, modes)

    def _continued(self, _number: int, _frame: object) -> None:
        if self._before is not None and in_foreground(self._descriptor):
            self._set()
            self._drawn()


def columns() -> int:
    """How wide the terminal behind standard output is."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or WIDE
    except OSError:
        return WIDE


def in_foreground(descriptor: int) -> bool:
    """Whether this process may read from the terminal, rather than be stopped for it."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
