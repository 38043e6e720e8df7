"""A terminal's modes: key by key while a line is edited here, and as before at every stop and end of the process."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

WIDE: Final = 80  #: columns of a terminal that does not report its width
LEAVING: Final = (signal.SIGTSTP, signal.SIGQUIT, signal.SIGHUP)
"""Signals that stop or end the process by default, while the terminal stays: it is restored before they take effect.
SIGINT and SIGTERM belong to the program, which ends in order."""

_active: Final[list[KeyByKey]] = []


class KeyByKey:
    """Takes a terminal out of its line mode; keys that send signals keep working, and output is unchanged.

    `enter` is called after each change to key by key: at the start, and when the process continues in the foreground.
    `leave` is called before each change back: at the end, when the process stops (Ctrl-Z), and before a signal ends it.
    """

    def __init__(
        self, descriptor: int, enter: Callable[[], None] = lambda: None, leave: Callable[[], object] = lambda: None
    ) -> None:
        self._descriptor = descriptor
        self._enter = enter
        self._leave = leave
        self._before: list[Any] | None = None  # the modes to restore; None while they are in force
        self._handlers: dict[int, Any] = {}

    def begin(self) -> None:
        """Change to key by key. Raises termios.error if the descriptor is not a terminal."""
        self._set()
        _active.append(self)
        atexit.register(self.end)
        for number in LEAVING:
            if signal.getsignal(number) == signal.SIG_DFL:  # what the caller or our parent chose is left alone
                self._handlers[number] = signal.signal(number, self._stop)
        self._handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._continued)
        self._enter()

    def end(self) -> None:
        """Change back, once. Does nothing before `begin`."""
        if self in _active:
            _active.remove(self)
            atexit.unregister(self.end)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers.clear()
            self._restore()

    def end_at_once(self) -> None:
        """Change back without a wait for output that the terminal does not accept, and without a call of `leave`."""
        before, self._before = self._before, None
        if before is not None and not _in_background(self._descriptor):
            with suppress(termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSANOW, before)

    def _set(self) -> None:
        self._before = termios.tcgetattr(self._descriptor)
        modes = termios.tcgetattr(self._descriptor)
        modes[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, modes)

    def _restore(self) -> None:
        before, self._before = self._before, None
        if before is not None and not _in_background(self._descriptor):
            self._leave()
            with suppress(termios.error):  # the terminal has gone
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, before)

    def _stop(self, number: int, _frame: object) -> None:
        """Restore the terminal, then let the signal do what it does by default."""
        self._restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # The process continues here, or was not stopped: the kernel stops no group that no shell controls.
        signal.signal(number, self._stop)
        self._continued()

    def _continued(self, _number: int = signal.SIGCONT, _frame: object = None) -> None:
        if self._before is None and self in _active and not _in_background(self._descriptor):
            self._set()
            self._enter()


def restore() -> None:
    """Change every terminal back at once: for an end that runs no exit handlers."""
    for one in _active:
        one.end_at_once()


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


def _in_background(descriptor: int) -> bool:
    """Whether another group of processes has the terminal. One that does not control us may be changed at any time."""
    try:
        return os.tcgetpgrp(descriptor) != os.getpgrp()
    except OSError:
        return False
