"""What came and what went on each connection of a lane, and how much of that the tally has.

A message costs one addition, to `carried`; everything else is worked out when somebody asks.
"""

from __future__ import annotations

from echod.events import Tally


class Octets:
    """By descriptor. Whoever carries adds what came to `carried`."""

    def __init__(self, tally: Tally) -> None:
        self.carried: list[int] = []  #: what came
        self._grown: dict[int, int] = {}  # what the answers had more (or less) than what came
        self._settled: dict[int, tuple[int, int]] = {}  # what came and went that the tally has already
        self._tally = tally

    def begin(self, descriptor: int) -> None:
        """A connection: nothing came yet."""
        while descriptor >= len(self.carried):
            self.carried.append(0)
        self.carried[descriptor] = 0

    def grow(self, descriptor: int, by: int) -> None:
        """An answer was so much longer than its question."""
        self._grown[descriptor] = self._grown.get(descriptor, 0) + by

    def of(self, descriptor: int, unsent: int) -> tuple[int, int]:
        """All that came, and all that went where `unsent` waits."""
        came = self.carried[descriptor]
        return came, came + self._grown.get(descriptor, 0) - unsent

    def settle(self, descriptor: int, unsent: int) -> None:
        """Bring what came and went since the last time into the tally."""
        self._settled[descriptor] = self._bring(descriptor, unsent)

    def end(self, descriptor: int, unsent: int) -> tuple[int, int]:
        """The same, for a connection that leaves the lane; returns all that came, and went."""
        total = self._bring(descriptor, unsent)
        self._settled.pop(descriptor, None)
        self._grown.pop(descriptor, None)
        return total

    def _bring(self, descriptor: int, unsent: int) -> tuple[int, int]:
        came = self.carried[descriptor]
        gone = came + self._grown.get(descriptor, 0) - unsent
        came_before, gone_before = self._settled.get(descriptor, (0, 0))
        self._tally.bytes_in += came - came_before
        self._tally.bytes_out += gone - gone_before
        return came, gone
