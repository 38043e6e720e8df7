"""How far this machine's clock can be trusted, by the kernel: adjtimex(2)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final, NamedTuple

STA_UNSYNC: Final = 0x40  # adjtimex(2)
TIME_ERROR: Final = 5
UNKNOWN_ERROR: Final = 16.0
"""Seconds: the error of a clock that nothing synchronizes. The kernel's own value, NTP_PHASE_LIMIT."""
KEPT: Final = 1.0  #: seconds for which a result is used again: the kernel changes its estimate once a second


class ClockQuality(NamedTuple):
    """Whether a clock follows an external source, and its largest error in seconds."""

    synchronized: bool
    error: float


UNKNOWN: Final = ClockQuality(False, UNKNOWN_ERROR)


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`; the rest is of no interest here."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


def clock_quality() -> ClockQuality:
    """The quality of CLOCK_REALTIME. If a sandbox refuses the call, the clock counts as not synchronized."""
    timex = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except AttributeError:  # a C library without the call
        return UNKNOWN
    if state < 0:
        return UNKNOWN
    synchronized = state != TIME_ERROR and not timex.status & STA_UNSYNC
    return ClockQuality(synchronized, timex.maxerror / 1e6)


class CachedClockQuality:
    """The clock's quality, asked of the kernel at most once in KEPT seconds of `clock`."""

    def __init__(self, clock: Callable[[], float], read: Callable[[], ClockQuality] = clock_quality) -> None:
        self._clock = clock
        self._read = read
        self._due = clock()
        self._quality = UNKNOWN

    def __call__(self) -> ClockQuality:
        """The quality now."""
        now = self._clock()
        if now >= self._due:
            self._due = now + KEPT
            self._quality = self._read()
        return self._quality
