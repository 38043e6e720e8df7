"""Puts a terminal into key-by-key mode, and restores it at every stop and at the end of the process."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

WIDE: Final = 80  #: columns of a terminal that does not report its width
LEAVING: Final = (signal.SIGTSTP, signal.SIGQUIT, signal.SIGHUP)
"""Signals whose default action stops or ends the process: the terminal is restored first. The program handles SIGINT
and SIGTERM itself."""

_active: Final[list[KeyByKey]] = []


class KeyByKey:
    """Key-by-key mode of a terminal. Keys that send signals keep working, and output is unchanged.

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
        self._stopping = False  # a handler of LEAVING runs: a SIGCONT before the end of the stop changes nothing

    def begin(self) -> None:
        """Change to key by key. Raises termios.error if the descriptor is not a terminal."""
        termios.tcgetattr(self._descriptor)
        for number in LEAVING:  # before the change: a signal right after it restores the terminal
            if signal.getsignal(number) == signal.SIG_DFL:  # handlers of the caller or the parent stay
                self._handlers[number] = signal.signal(number, self._stop)
        self._handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._continued)
        self._set()
        _active.append(self)
        atexit.register(self.end)
        self._enter()

    def end(self) -> None:
        """Restore the terminal, once. Does nothing before `begin`."""
        if self in _active:
            _active.remove(self)
            atexit.unregister(self.end)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers.clear()
            self._restore()

    def end_at_once(self) -> None:
        """Restore the terminal without waiting for pending output, and without calling `leave`."""
        before, self._before = self._before, None
        if before is not None and not _in_background(self._descriptor):
            with suppress(termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSANOW, before)

    def _set(self) -> None:
        while True:
            self._before = before = termios.tcgetattr(self._descriptor)
            modes = termios.tcgetattr(self._descriptor)
            modes[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
            modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
            # In the background this stops the process. When it continues, the shell may have set other modes.
            if self._changes_to(modes):
                return
            if self._before is not None and self._before is not before:  # the handler of the signal has changed them
                return

    def _restore(self) -> None:
        """Change back. Until then the modes stay in `_before`: a signal may interrupt this, and its handler restores.

        Otherwise `_set` of the handler would take the modes that it has set itself for those to restore.
        """
        before = self._before
        try:
            if before is not None and not _in_background(self._descriptor):
                self._leave()
        finally:
            with suppress(termios.error):  # the terminal was closed
                while before is not None and not _in_background(self._descriptor):
                    if self._changes_to(before):
                        break
            self._before = None

    def _changes_to(self, modes: list[Any]) -> bool:
        """Change the modes after pending output was sent. False if a signal has interrupted that."""
        try:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, modes)
        except termios.error as error:
            if error.args[0] != errno.EINTR:
                raise
            return False
        return True

    def _stop(self, number: int, _frame: object) -> None:
        """Restore the terminal, then let the signal do what it does by default."""
        self._stopping = True
        try:
            self._restore()
        finally:  # `leave` may raise, such as RuntimeError if the signal interrupted a write to the same stream
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            # The process continues here. It was not stopped if its group is orphaned.
            signal.signal(number, self._stop)
            self._stopping = False
        self._continued()

    def _continued(self, _number: int = signal.SIGCONT, _frame: object = None) -> None:
        may_set = not self._stopping and self._before is None and self in _active
        if may_set and not _in_background(self._descriptor):
            self._set()
            self._enter()


def restore() -> None:
    """Restore every terminal at once, for an exit that runs no exit handlers."""
    for one in _active:
        one.end_at_once()


def columns() -> int:
    """The width of the terminal at standard output, in columns."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or WIDE
    except OSError:
        return WIDE


def in_foreground(descriptor: int) -> bool:
    """Whether this process is in the foreground of the terminal, and may read from it."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


def _in_background(descriptor: int) -> bool:
    """Whether another process group is in the foreground. False for a terminal that is not our controlling terminal."""
    try:
        return os.tcgetpgrp(descriptor) != os.getpgrp()
    except OSError:
        return False
