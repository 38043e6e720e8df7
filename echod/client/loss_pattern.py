"""How probes were lost: single ones or in bursts, outages, and how certain the percentage is. Pure."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

OUTAGE: Final = 3  #: lost probes in a row that are an outage, and not only a burst
_Z: Final = 1.959964  #: the quantile of the normal distribution for 95 %
_BURSTS: Final = 64  #: lengths of bursts that are counted separately


class Outage(NamedTuple):
    """A time without replies: from sending the first lost probe to sending the next probe with a reply."""

    first: int  #: number of the first lost probe
    lost: int
    seconds: float


class LossPattern:
    """Takes the outcome of each probe, in the order of their numbers."""

    def __init__(self) -> None:
        self.bursts: dict[int, int] = {}  #: how many bursts of each length; longer ones count as 64
        self.longest = 0
        self.outages = 0
        self.outage_seconds = 0.0
        self._run = 0
        self._first = 0
        self._since = 0.0
        self._last = 0.0

    def lost(self, number: int, sent_at: float) -> None:
        """A probe is lost."""
        if not self._run:
            self._first, self._since = number, sent_at
        self._last = sent_at
        self._run += 1
        self.longest = max(self.longest, self._run)

    def received(self, sent_at: float) -> Outage | None:
        """A probe has a reply. Returns the outage that it ends, if there was one."""
        run, self._run = self._run, 0
        if not run:
            return None
        length = min(run, _BURSTS)
        self.bursts[length] = self.bursts.get(length, 0) + 1
        if run < OUTAGE:
            return None
        self.outages += 1
        seconds = max(0.0, sent_at - self._since)
        self.outage_seconds += seconds
        return Outage(self._first, run, seconds)

    def finish(self) -> None:
        """The end: a burst that still lasts is counted, and an outage until its last probe."""
        if self._run:
            length = min(self._run, _BURSTS)
            self.bursts[length] = self.bursts.get(length, 0) + 1
            if self._run >= OUTAGE:
                self.outages += 1
                self.outage_seconds += max(0.0, self._last - self._since)
            self._run = 0


def confidence(lost: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a loss in percent, by Wilson's score: right for few losses too. (0, 100) without probes."""
    if not of:
        return 0.0, 100.0
    share, squared = lost / of, _Z * _Z
    middle = share + squared / (2 * of)
    half = _Z * math.sqrt(share * (1 - share) / of + squared / (4 * of * of))
    low, high = (middle - half) / (1 + squared / of), (middle + half) / (1 + squared / of)
    return max(0.0, 100 * low) if lost else 0.0, min(100.0, 100 * high) if lost < of else 100.0
