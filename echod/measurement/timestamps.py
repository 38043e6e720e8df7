"""Timestamps of test packets, and how far they can be trusted.

A timestamp has 64 bits, in one of two formats: NTP (RFC 5905 6) or truncated PTPv2 (RFC 8186 2.1). Both wrap: NTP in
2036, PTP in 2106. The Error Estimate beside it is that of RFC 4656 4.1.2, with the Z bit of RFC 8186 2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

EPOCH: Final = 2_208_988_800  #: seconds from 1900-01-01 to 1970-01-01
A_SECOND: Final = 1_000_000_000  #: nanoseconds
_ERA: Final = 2**32 * A_SECOND  #: nanoseconds after which both formats repeat
_LARGEST_SCALE: Final = 63
_LARGEST_MULTIPLIER: Final = 255


def ntp(nanoseconds: int) -> int:
    """The NTP timestamp of a time in nanoseconds since 1970, rounded down to 2^-32 seconds."""
    seconds, rest = divmod(nanoseconds, A_SECOND)
    return (seconds + EPOCH & 0xFFFF_FFFF) << 32 | (rest << 32) // A_SECOND


def ptp(nanoseconds: int) -> int:
    """The truncated PTPv2 timestamp of a time in nanoseconds since 1970."""
    seconds, rest = divmod(nanoseconds, A_SECOND)
    return (seconds & 0xFFFF_FFFF) << 32 | rest


def from_ntp(timestamp: int, near: int) -> int:
    """The time of an NTP timestamp, in nanoseconds since 1970: of all eras the one closest to the time `near`."""
    return _closest(((timestamp >> 32) - EPOCH) * A_SECOND + _rounded(timestamp & 0xFFFF_FFFF), near)


def from_ptp(timestamp: int, near: int) -> int:
    """The time of a truncated PTPv2 timestamp, in nanoseconds since 1970: the one closest to the time `near`."""
    return _closest((timestamp >> 32) * A_SECOND + (timestamp & 0xFFFF_FFFF), near)


def _rounded(fraction: int) -> int:
    """Nanoseconds of a fraction in units of 2^-32 seconds, so that `ntp` and back returns the same nanosecond."""
    return (fraction * A_SECOND + 2**32 - 1) >> 32


def _closest(nanoseconds: int, near: int) -> int:
    return near + (nanoseconds - near + _ERA // 2) % _ERA - _ERA // 2


class ErrorEstimate(NamedTuple):
    """The Error Estimate of a timestamp: S, Z, Scale and Multiplier.

    `synchronized` is whether the clock follows an external source (S). `is_ptp` is the format of the timestamps (Z).
    """

    synchronized: bool
    is_ptp: bool
    scale: int  #: 0 to 63
    multiplier: int  #: 0 to 255; 0 is invalid

    @property
    def seconds(self) -> float:
        """The error: Multiplier * 2^(Scale - 32) seconds."""
        return self.multiplier * 2.0 ** (self.scale - 32)

    @property
    def is_valid(self) -> bool:
        """Whether the Multiplier is not 0; otherwise the packet is corrupt (RFC 4656 4.1.2)."""
        return self.multiplier != 0

    @property
    def word(self) -> int:
        """The 16 bits in a packet."""
        return self.synchronized << 15 | self.is_ptp << 14 | self.scale << 8 | self.multiplier


@lru_cache(maxsize=16)  # the kernel's error changes once a second
def error_estimate(seconds: float, *, synchronized: bool, is_ptp: bool = False) -> ErrorEstimate:
    """The smallest Error Estimate that is not below `seconds`, with a Multiplier of at least 1."""
    for scale in range(_LARGEST_SCALE + 1):
        multiplier = -int(-seconds * 2.0 ** (32 - scale) // 1)
        if multiplier <= _LARGEST_MULTIPLIER:
            return ErrorEstimate(synchronized, is_ptp, scale, max(multiplier, 1))
    return ErrorEstimate(synchronized, is_ptp, _LARGEST_SCALE, _LARGEST_MULTIPLIER)


def estimate_of(word: int) -> ErrorEstimate:
    """The Error Estimate of 16 bits in a packet."""
    return ErrorEstimate(bool(word & 0x8000), bool(word & 0x4000), word >> 8 & 0x3F, word & 0xFF)


def time_of(timestamp: int, estimate: int, near: int) -> int:
    """The time of a timestamp in nanoseconds since 1970. The Z bit of its Error Estimate (a word) has the format."""
    return from_ptp(timestamp, near) if estimate & 0x4000 else from_ntp(timestamp, near)
