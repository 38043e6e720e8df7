"""Replies of an unauthenticated reflector, written over their requests.

      0   sequence number               replaced if the reflector counts
      4   T3                            ◄── `stamp`
     12   Error Estimate                replaced; the SSID stays
     16   T2                            ◄── the kernel's time of arrival
     24   sequence number, T1, Error Estimate of the request
     40   TTL                           ◄── the kernel's
     44   TLVs (`stamp_tlvs.reflect_over`), or padding

The replies are those of `Reflector.datagram`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final

from echod.in_place_replies import Placed
from echod.measurement.clock_quality import ClockQuality
from echod.measurement.reflector_sessions import ReflectorSessions
from echod.measurement.stamp import BASE
from echod.measurement.stamp_tlvs import CLASS_OF_SERVICE, FIRST_FLAGS, ReflectorFacts, has_tlv, reflect_over
from echod.measurement.timestamps import A_SECOND, EPOCH, error_estimate

_MASK: Final = 0xFFFF_FFFF
_COPIED: Final = 14  #: bytes of the request that the reply repeats
_SEQUENCE: Final = struct.Struct("!I")
_ESTIMATE: Final = struct.Struct("!H")
_STAMP: Final = struct.Struct("!II")
_REST: Final = struct.Struct(f"!II{_COPIED}s2xB3x")  # from T2 on


class StampInPlace:
    """Writes replies. `wall_clock_ns` is the clock of T3, and `quality` that of its Error Estimate.

    `sessions` are those of a stateful reflector.
    """

    def __init__(
        self,
        wall_clock_ns: Callable[[], int],
        quality: Callable[[], ClockQuality],
        sessions: ReflectorSessions | None = None,
        *,
        is_ptp: bool,
    ) -> None:
        self.needs_ends = sessions is not None
        self._sessions = sessions
        self._wall_clock_ns = wall_clock_ns
        self._quality = quality
        self._is_ptp = is_ptp

    def fits(self, data: memoryview, at: int, length: int) -> bool:
        """Whether a request has a whole base packet, and no Class of Service TLV."""
        if length <= BASE or data[at + BASE] != FIRST_FLAGS:
            return length >= BASE
        return not has_tlv(data[at + BASE : at + length], CLASS_OF_SERVICE)

    def write(self, data: memoryview, requests: Iterable[Placed]) -> None:
        """Write everything except T3."""
        is_ptp, sessions = self._is_ptp, self._sessions
        synchronized, error = self._quality()
        estimate = error_estimate(error, synchronized=synchronized, is_ptp=is_ptp).word
        total = None
        for at, length, seconds, nanoseconds, hops, ends in requests:
            copied = bytes(data[at : at + _COPIED])
            if is_ptp:
                _REST.pack_into(data, at + 16, seconds & _MASK, nanoseconds, copied, hops)
            else:
                fraction = (nanoseconds << 32) // A_SECOND
                _REST.pack_into(data, at + 16, seconds + EPOCH & _MASK, fraction, copied, hops)
            _ESTIMATE.pack_into(data, at + 12, estimate)
            if sessions is not None:
                count = sessions.receive((ends, int.from_bytes(data[at + 14 : at + 16], "big")))
                _SEQUENCE.pack_into(data, at, count & _MASK)
                total = count + 1
            if length > BASE and data[at + BASE] == FIRST_FLAGS:
                facts = ReflectorFacts(int.from_bytes(data[at : at + 4], "big"), 0, synchronized, total, total)
                reflect_over(data[at + BASE : at + length], facts)

    def stamp(self, data: memoryview, positions: Iterable[int]) -> None:
        """Write T3: the time now."""
        seconds, fraction = divmod(self._wall_clock_ns(), A_SECOND)
        if not self._is_ptp:
            seconds, fraction = seconds + EPOCH, (fraction << 32) // A_SECOND
        for at in positions:
            _STAMP.pack_into(data, at + 4, seconds & _MASK, fraction)
