"""Finds floods: what is refused so often that the kernel had better drop it before anybody reads it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

FLOOD: Final = 256  #: refusals …
WITHIN: Final = 0.25  #: … in so many seconds: some ten times what a client does that tries too hard
WATCHED: Final = 4096  #: networks that are watched at once
PORTS: Final = b""  #: the place of all forbidden source ports, where a network has its octets
OF_PORTS: Final = 200.0  #: datagrams a second that are read of them, to see whether it lasts; none is answered


class Flood(NamedTuple):
    """What was refused, and what may come, a second."""

    refused: float
    wanted: float

    @property
    def share(self) -> float:
        """How much of what was read is twice what may come: so much, that the verdict stays the gate's."""
        return 2 * self.wanted / (self.refused + self.wanted)


class Floods:
    """Refusals are noted as they happen; `take` says what has become a flood since it was asked last."""

    def __init__(self) -> None:
        self.found: dict[bytes, Flood] = {}
        self._noted: OrderedDict[bytes, tuple[int, float]] = OrderedDict()  # how often, since when

    def note(self, what: bytes, now: float, wanted: float = OF_PORTS, count: int = 1) -> None:
        """So many refusals: of PORTS, or of a network that may have `wanted` datagrams a second."""
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
        """What flooded since, by network or PORTS."""
        found, self.found = self.found, {}
        return found
