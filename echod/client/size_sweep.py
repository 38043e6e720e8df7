"""The times and losses of probes by their size. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from echod.client.statistics import Times

_KEPT: Final = 1000  #: times of one size that are kept exactly


class SizeSweep:
    """Takes the results of probes whose sizes are `sizes`, in turn from probe 1."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._times = {size: Times(_KEPT) for size in sizes}
        self._lost = dict.fromkeys(sizes, 0)

    def received(self, size: int, seconds: float) -> None:
        """A reply of this size was received in time. A reply has the size of its probe, or more if that is short."""
        if size in self._times:
            self._times[size].add(seconds)

    def lost(self, number: int) -> None:
        """The probe with this number is lost."""
        self._lost[self._sizes[(number - 1) % len(self._sizes)]] += 1

    def figures(self) -> dict[str, Any]:
        """The figures by size."""
        return {
            str(size): {
                "received": times.count,
                "lost": self._lost[size],
                "min_ms": round(times.minimum * 1000, 6) if times.count else None,
                "avg_ms": round(times.mean * 1000, 6) if times.count else None,
                "max_ms": round(times.maximum * 1000, 6) if times.count else None,
            }
            for size, times in self._times.items()
        }

    def lines(self) -> list[str]:
        """A line for each size that was sent."""
        said = []
        for size, times in self._times.items():
            if not times.count and not self._lost[size]:
                continue
            values = "/".join(f"{value * 1000:.3f}" for value in (times.minimum, times.mean, times.maximum))
            found = f", min/avg/max = {values} ms" if times.count else ""
            said.append(f"{size} bytes: {times.count} received, {self._lost[size]} lost{found}")
        return said
