"""The work budget: how much work that consists of items is done at once.

Bytes are bounded by the transport. Their number of items is not: one read of 64 KiB may hold 65,536 empty lines. This
module states the rule for everything that consists of items, such as lines, requests, frames or pieces of a response:

* A unit is one small item, such as an empty line: 1 to 2 µs. A larger item costs more, such as a unit for each
  UNIT_BYTES of it. Units are counted, not measured: a turn does not depend on the load of the machine.
* One read of one peer processes at most `portion` units. An empty or refused item costs a unit as well.
* All peers together process at most `turn` units in one turn of the reactor, and their `last` portions as many again.
* echod does not read from a peer with unprocessed input (`Reply.held`). Its next portion is processed in a later turn,
  hosts in turn, and the peers of one host first come first served.

A service gets the budget through its `Context`; the transport queues the peer. A part of the daemon that has no
`Reply`, such as a delivery to many members, takes a portion and queues itself in the same way. Output that the
transport pulls piece by piece has no portion: its producer spends units for each piece, and waits while the turn
`is_used_up`.

Pure: `later` is the reactor's callLater. Without it work cannot be postponed, so it is not bounded. A factory that
serves connections sets it (`use`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from typing import Any, Final

PORTION: Final = 256  #: units of one read of one peer: about 0.3 ms, and more lines than `lines-per-second` allows
UNIT_BYTES: Final = 64  #: bytes of an item that cost one more unit
TURN: Final = 512  #: units of all peers in one turn: about 1 ms, so that other connections keep a p99 below 5 ms

Later = Callable[[float, Callable[[], None]], Any]
Proceed = Callable[[], None]


class Portion:
    """The units that one peer may process now. Used units count for the turn."""

    __slots__ = ("_budget", "_left")

    def __init__(self, budget: WorkBudget, units: int) -> None:
        self._budget = budget
        self._left = units

    def take(self) -> bool:
        """Whether one more item may be processed now. If so, it counts as one unit."""
        if self._left <= 0:
            return False
        self.spend(1)
        return True

    def spend(self, units: int) -> None:
        """Count further units for the last item: its work was larger than one unit."""
        self._left -= units
        self._budget.spend(units)


class WorkBudget:
    """The units of a turn, and the peers that wait for their next portion."""

    def __init__(self, later: Later | None = None, *, portion: int = PORTION, turn: int = TURN) -> None:
        self._later = later
        self._portion = portion
        self._turn = turn
        self._left = turn
        self._waiting: dict[Hashable, dict[Proceed, None]] = {}  # by share; the one whose turn it is comes first
        self._share_of: dict[Proceed, Hashable] = {}
        self._scheduled = False

    def use(self, later: Later) -> None:
        """Bound the work by the turns of a reactor, unless the budget has a reactor already."""
        if self._later is None:
            self._later = later

    @property
    def waiting(self) -> int:
        """The number of peers that wait."""
        return len(self._share_of)

    @property
    def is_used_up(self) -> bool:
        """Whether this turn has no units left: `wait`, and continue when called."""
        return self._later is not None and self._left <= 0

    def portion(self, *, last: bool = False, whole: bool = False) -> Portion:
        """The units that one peer may process now: 0 if the turn is used up.

        The `last` portions of peers that end may use one more turn: many peers may end in the same one.

        `whole` returns all that is left of the turn, for work that belongs to many peers.
        """
        if self._later is None:
            return Portion(self, sys.maxsize)
        if whole:
            return Portion(self, self._left)
        return Portion(self, min(self._portion, self._left + self._turn if last else self._left))

    def spend(self, units: int) -> None:
        """Count units for this turn."""
        if self._later is not None:
            self._left -= units
            self._schedule()

    def wait(self, proceed: Proceed, share: Hashable = None) -> None:
        """Call `proceed` once, in a later turn. It takes a portion, and waits again if that was not enough.

        Shares take turns; within one share it is first come, first served. `share` is the host of a peer. A thousand
        connections of one host therefore delay another host no more than one connection does.

        Without `later` it is called immediately.
        """
        if self._later is None:
            proceed()
        else:
            self.cancel(proceed)
            self._waiting.setdefault(share, {})[proceed] = None
            self._share_of[proceed] = share
            self._schedule()

    def cancel(self, proceed: Proceed) -> None:
        """Do not call `proceed` any more: the peer is gone."""
        if proceed in self._share_of:
            share = self._share_of.pop(proceed)
            queue = self._waiting[share]
            del queue[proceed]
            if not queue:
                del self._waiting[share]

    def _schedule(self) -> None:
        if not self._scheduled and self._later is not None:
            self._scheduled = True
            self._later(0, self._begin_turn)

    def _begin_turn(self) -> None:
        self._scheduled = False
        self._left = self._turn
        try:
            for _ in range(self.waiting):
                if self._left <= 0 or not self._waiting:
                    break
                self._next()()
        finally:  # an exception is a bug of that peer's service, and must not delay other peers
            if self._waiting:
                self._schedule()

    def _next(self) -> Proceed:
        """The peer whose turn it is; the next one is of another share if there is one."""
        share = next(iter(self._waiting))
        queue = self._waiting.pop(share)
        proceed = next(iter(queue))
        del queue[proceed], self._share_of[proceed]
        if queue:
            self._waiting[share] = queue
        return proceed
