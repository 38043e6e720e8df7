"""Finds floods: what is refused so often that the kernel had better drop it before anybody reads it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

FLOOD: Final = 1024  #: refusals …
WITHIN: Final = 1.0  #: … in so many seconds: some ten times what a client does that tries too hard
WATCHED: Final = 4096  #: networks that are watched at once
PORTS: Final = b""  #: the place of all forbidden source ports, where a network has its octets


class Floods:
    """Refusals are noted as they happen; `take` says what has become a flood since it was asked last."""

    def __init__(self) -> None:
        self.found: dict[bytes, float] = {}
        self._noted: OrderedDict[bytes, tuple[int, float]] = OrderedDict()  # how often, since when

    def note(self, what: bytes, now: float, wanted: float = 0.0) -> None:
        """One refusal: of PORTS, or of a network that may have `wanted` datagrams a second."""
        often, since = self._noted.pop(what, (0, now))
        if now - since > WITHIN:
            often, since = 0, now
        if often + 1 < FLOOD:
            self._noted[what] = (often + 1, since)
            if len(self._noted) > WATCHED:
                self._noted.popitem(last=False)
        elif (share := 2 * wanted * max(now - since, 0.001) / FLOOD) < 1:  # twice, so that the gate's is the verdict
            self.found[what] = share

    def take(self) -> dict[bytes, float]:
        """What flooded, and the share of it that should still come through."""
        found, self.found = self.found, {}
        return found
