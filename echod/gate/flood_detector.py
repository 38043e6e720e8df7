"""Finds floods: datagrams that are refused so often that a filter in the kernel should drop them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

FLOOD: Final = 256  #: refusals …
WITHIN: Final = 0.25  #: … in this many seconds: about ten times the rate of an overly eager client
WATCHED: Final = 4096  #: networks that are watched at once
PORTS: Final = b""  #: the key of all forbidden source ports; other keys are the bytes of a network
OF_PORTS: Final = 200.0  #: datagrams a second that are still read from them, to detect the end of a flood


class Flood(NamedTuple):
    """Datagrams a second: those that were refused, and those that may pass."""

    refused: float
    wanted: float

    @property
    def share(self) -> float:
        """The share of datagrams that a filter should pass: twice the wanted rate, so that the gate still decides."""
        return 2 * self.wanted / (self.refused + self.wanted)


class Floods:
    """Counts refusals; `take` returns the floods since its last call."""

    def __init__(self) -> None:
        self.found: dict[bytes, Flood] = {}
        self._noted: OrderedDict[bytes, tuple[int, float]] = OrderedDict()  # how often, since when

    def note(self, what: bytes, now: float, wanted: float = OF_PORTS, count: int = 1) -> None:
        """Count refusals: of PORTS, or of a network that may send `wanted` datagrams a second."""
        often, since = self._noted.pop(what, (0, now))
        if now - since > WITHIN:
            often, since = 0, now
        often += count
        if often < FLOOD:
            self._noted[what] = (often, since)
            if len(self._noted) > WATCHED:
                self._noted.popitem(last=False)
        elif (refused := often / max(now - since, 0.001)) > wanted:
            self.found[what] = Flood(refused, wanted)

    def take(self) -> dict[bytes, Flood]:
        """Return the floods since the last call, by network or PORTS."""
        found, self.found = self.found, {}
        return found
