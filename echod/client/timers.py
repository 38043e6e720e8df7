"""Timers of a schedule. One of the kernel holds intervals below a millisecond, which those of the reactor round up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.abstract import FileDescriptor

from echod.fastpath import syscalls
from echod.fastpath.timerfd import TimerDescriptor


class Timer(Protocol):
    """Calls a function once, after some seconds. A new call of `wake` replaces the one before."""

    def wake(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after so many seconds, 0 or more."""

    def stop(self) -> None:
        """Call nothing. The timer is not used any more."""


class ReactorTimer:
    """A timer of the reactor; its resolution is a millisecond."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pending: Any = None

    def wake(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after so many seconds, rounded up to milliseconds."""
        self.stop()
        self._pending = self._reactor.callLater(seconds, call)

    def stop(self) -> None:
        """Cancel the call."""
        if self._pending is not None and self._pending.active():
            self._pending.cancel()
        self._pending = None


class KernelTimer(FileDescriptor):
    """A timerfd that the reactor watches; its resolution is a nanosecond. Raises OSError."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._timer = TimerDescriptor()
        self._call: Callable[[], None] | None = None
        self.connected = 1
        self.startReading()

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return self._timer.fileno()

    def wake(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after so many seconds."""
        self._call = call
        self._timer.set(max(seconds, 1e-9))

    def doRead(self) -> None:
        """The time has expired."""
        call, self._call = self._call, None
        self._timer.stop()
        if call is not None:
            call()

    def stop(self) -> None:
        """Cancel the call, and close the descriptor."""
        self._call = None
        if self.connected:
            self.connected = 0
            self.stopReading()
            self._timer.close()

    def connectionLost(self, reason: object) -> None:
        """The reactor ends."""
        self.stop()


def timer(reactor: Any) -> Timer:
    """The best timer that this machine has."""
    if syscalls.available:
        with suppress(OSError):
            return KernelTimer(reactor)
    return ReactorTimer(reactor)
