"""How much waits to be sent to everybody together, and who must hold back while that is too much.

There is one sum for the whole daemon. It changes when a connection gets stuck and when it is relieved, never for a
single message. Each limit (`total-buffer` of a service) is a Watermark on it: who joined one hears when the sum rises
above it, above half of it, and when it has fallen again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Final

RELIEVED: Final = 7 / 8  #: the share of a mark below which the sum has fallen: not with every connection to and fro
LITTLE: Final = 4096
"""Octets that are read at once from a connection while the mark is passed: a page. Whoever takes its answers is
served on, only in smaller pieces; and whoever does not, adds no more than that."""
KERNEL_BUFFER: Final = 65_536
"""Octets for SO_SNDBUF and SO_RCVBUF above half of a mark; Linux takes twice that (socket(7)). A stuck connection holds
3.3 MiB of kernel memory at both its ends with Linux's own limits. Of 5,000 with these, each held 0.33 MiB; with twice
as much they reached `tcp_mem`, above which nobody can send (`make chaos`, number 10)."""


class Pressure(IntEnum):
    """How near the sum is to a mark."""

    NONE = 0
    HALF = 1  #: above half of it: the kernel's buffers of whoever is stuck, or new, are bounded
    FULL = 2  #: above it: nobody who is stuck is read from, and everybody else little by little


class SendBudget:
    """The octets that wait to be sent to all connections together.

    `tell` hears `reading.paused` when a limit is passed, and `reading.resumed` when it is not any more.
    """

    def __init__(self, tell: Callable[..., None] = lambda _name, **_fields: None) -> None:
        self.octets = 0
        self.missed = 0  #: lines that outboxes dropped because their readers were too slow
        self.ended = 0  #: readers that were ended because they stayed behind
        self.tell = tell
        self._marks: dict[int, Watermark] = {}
        self._ceiling: float = sys.maxsize  # above this, or below the floor, the pressure on some mark changes
        self._floor: float = -1

    def mark(self, limit: int) -> Watermark:
        """The mark at `limit` octets."""
        if limit not in self._marks:
            self._marks[limit] = Watermark(self, limit)
            self._weigh()
        return self._marks[limit]

    def change(self, by: int) -> None:
        """So many octets more, or fewer, wait than before."""
        self.octets += by
        if self.octets > self._ceiling or self.octets < self._floor:
            self._weigh()

    def figures(self) -> dict[str, int]:
        """The counters of outboxes that are not 0, by their names in the log."""
        counters = {"missed": self.missed, "readers_ended": self.ended}
        return {name: count for name, count in counters.items() if count}

    def _weigh(self) -> None:
        marks = list(self._marks.values())
        changed = [mark for mark in marks if mark.weigh(self.octets)]
        self._ceiling = min((mark.ceiling for mark in marks), default=sys.maxsize)
        self._floor = max((mark.floor for mark in marks), default=-1)
        for mark in changed:
            mark.press()


class Watermark:
    """One limit on the sum, and who hears of it."""

    def __init__(self, budget: SendBudget, limit: int) -> None:
        self.budget = budget
        self.limit = limit
        self.pressure = Pressure.NONE
        self.change = budget.change
        self._heard: dict[Callable[[Pressure], None], None] = {}
        self._told = False  # that it is passed

    def join(self, heard: Callable[[Pressure], None]) -> None:
        """Call `heard` with the pressure now, and whenever it changes."""
        self._heard[heard] = None
        self._tell()
        heard(self.pressure)

    def leave(self, heard: Callable[[Pressure], None]) -> None:
        """Call it no more."""
        self._heard.pop(heard, None)
        self._tell()

    def weigh(self, octets: int) -> bool:
        """Whether a sum of `octets` changes the pressure; it does so when the sum leaves what lies between
        `floor` and `ceiling`."""
        before = self.pressure
        if octets > self.ceiling or octets < self.floor:
            self.pressure = self._pressure_of(octets)
        return self.pressure is not before

    def _pressure_of(self, octets: int) -> Pressure:
        if octets > self.limit:
            return Pressure.FULL
        return Pressure.HALF if octets > self.limit / 2 else Pressure.NONE

    @property
    def ceiling(self) -> float:
        """The pressure rises above so many octets."""
        if self.pressure is Pressure.FULL:
            return sys.maxsize
        return self.limit if self.pressure is Pressure.HALF else self.limit / 2

    @property
    def floor(self) -> float:
        """It falls below so many."""
        if self.pressure is Pressure.NONE:
            return -1
        return RELIEVED * (self.limit / 2 if self.pressure is Pressure.HALF else self.limit)

    def press(self) -> None:
        """Tell everybody who joined."""
        self._tell()
        for heard in tuple(self._heard):
            heard(self.pressure)

    def _tell(self) -> None:
        passed = self.pressure is Pressure.FULL and bool(self._heard)  # it is somebody's limit, and passed
        if passed != self._told:
            self._told = passed
            self.budget.tell("reading.paused" if passed else "reading.resumed", limit=self.limit)
