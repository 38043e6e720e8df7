"""Counts the bytes received and sent on each connection of a lane, and adds them to the listener's counters.

A message costs one addition, here or in the native loop. Everything else is computed on request.
"""

from __future__ import annotations

from echod.events import Counters
from echod.fastpath.native_library import NativeStreamLane


class ByteCounts:
    """Byte counts by descriptor. The lane adds received bytes to `carried`; `native` counts what it receives itself."""

    def __init__(self, counters: Counters, native: NativeStreamLane | None = None) -> None:
        self.carried: list[int] = []  #: received bytes, without those of the native loop
        self._native = native
        self._grown: dict[int, int] = {}  # difference between the replies and the received bytes
        self._settled: dict[int, tuple[int, int]] = {}  # received and sent bytes that the counters have already
        self._counters = counters

    def begin(self, descriptor: int) -> None:
        """Start to count a new connection at 0."""
        while descriptor >= len(self.carried):
            self.carried.append(0)
        self.carried[descriptor] = 0
        if self._native is not None:
            self._native.begin(descriptor)

    def grow(self, descriptor: int, by: int) -> None:
        """Count a reply that is `by` bytes longer than its request (or shorter, if negative)."""
        self._grown[descriptor] = self._grown.get(descriptor, 0) + by

    def of(self, descriptor: int, unsent: int) -> tuple[int, int]:
        """The received and the sent bytes, given that `unsent` bytes are pending."""
        came = self.carried[descriptor]
        if self._native is not None:
            came += self._native.carried(descriptor)
        return came, came + self._grown.get(descriptor, 0) - unsent

    def flush_counters(self, descriptor: int, unsent: int) -> None:
        """Add the bytes since the last call to the counters."""
        self._settled[descriptor] = self._bring(descriptor, unsent)

    def end(self, descriptor: int, unsent: int) -> tuple[int, int]:
        """The same for a connection that leaves the lane; returns all received and sent bytes."""
        total = self._bring(descriptor, unsent)
        self._settled.pop(descriptor, None)
        self._grown.pop(descriptor, None)
        return total

    def _bring(self, descriptor: int, unsent: int) -> tuple[int, int]:
        came, gone = self.of(descriptor, unsent)
        came_before, gone_before = self._settled.get(descriptor, (0, 0))
        self._counters.bytes_in += came - came_before
        self._counters.bytes_out += gone - gone_before
        return came, gone
