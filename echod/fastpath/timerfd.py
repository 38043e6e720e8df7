"""A timer as a descriptor (timerfd_create(2)), so that one wait covers sockets and the timer.

A wait with a timeout costs more, because the kernel sets and cancels a timer each time.
"""

from __future__ import annotations

import os
from time import CLOCK_MONOTONIC
from typing import Final

from echod.fastpath import syscalls

TFD_NONBLOCK: Final = os.O_NONBLOCK  # timerfd_create(2)
TFD_CLOEXEC: Final = os.O_CLOEXEC


class TimerDescriptor:
    """A descriptor that is readable after its time has expired, until it is set or stopped. Raises OSError."""

    def __init__(self) -> None:
        self._descriptor = syscalls.C.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self._descriptor < 0:
            raise syscalls.failure()
        self._time = syscalls.ffi.new("struct itimerspec *")

    def fileno(self) -> int:
        """The descriptor."""
        return int(self._descriptor)

    def set(self, seconds: float) -> None:
        """Expire in `seconds` (above 0), instead of the previous time."""
        whole = int(seconds)
        self._time.value.seconds = whole
        self._time.value.nanoseconds = max(int((seconds - whole) * 1e9), 0 if whole else 1)  # 0 would disable it
        syscalls.C.timerfd_settime(self._descriptor, 0, self._time, syscalls.ffi.NULL)

    def stop(self) -> None:
        """Disarm the timer."""
        self._time.value.seconds = self._time.value.nanoseconds = 0
        syscalls.C.timerfd_settime(self._descriptor, 0, self._time, syscalls.ffi.NULL)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)
