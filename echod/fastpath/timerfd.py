"""A timer that is a descriptor: whoever waits for sockets waits for it in the same call.

A wait that has an end of its own costs more each time: the kernel sets a timer for it and takes it back.
"""

from __future__ import annotations

import os
from time import CLOCK_MONOTONIC
from typing import Final

from echod.fastpath import syscalls

TFD_NONBLOCK: Final = os.O_NONBLOCK  # timerfd_create(2)
TFD_CLOEXEC: Final = os.O_CLOEXEC


class Alarm:
    """Readable once its time has come, until it is set or stopped."""

    def __init__(self) -> None:
        self._descriptor = syscalls.C.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self._descriptor < 0:
            raise syscalls.failure()
        self._time = syscalls.ffi.new("struct itimerspec *")

    def fileno(self) -> int:
        """What to wait for."""
        return int(self._descriptor)

    def set(self, seconds: float) -> None:
        """Ring in so many seconds, more than 0, and not when it would have."""
        whole = int(seconds)
        self._time.value.seconds = whole
        self._time.value.nanoseconds = max(int((seconds - whole) * 1e9), 0 if whole else 1)  # 0 is never
        syscalls.C.timerfd_settime(self._descriptor, 0, self._time, syscalls.ffi.NULL)

    def stop(self) -> None:
        """It has been heard."""
        self._time.value.seconds = self._time.value.nanoseconds = 0
        syscalls.C.timerfd_settime(self._descriptor, 0, self._time, syscalls.ffi.NULL)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)
