"""The bytes that wait to be sent to all peers together, and the pressure on readers while they are too many.

The whole daemon has one sum. It changes when a connection stalls and when its output is sent, never for a single
message. Each limit (`total-buffer` of a service) is a Watermark on the sum. Listeners of a watermark are called when
the sum rises above it, above half of it, and when it has fallen again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Final

RELIEVED: Final = 7 / 8  #: share of a mark below which the pressure falls: hysteresis
LITTLE: Final = 4096
"""Bytes that are read at once from a connection while the sum is above the mark: one page. A peer that reads its
replies is served in smaller pieces; a peer that does not read adds at most this much."""
KERNEL_BUFFER: Final = 65_536
"""Bytes for SO_SNDBUF and SO_RCVBUF above half of a mark; Linux doubles them (socket(7)). With Linux's own limits a
stalled connection holds 3.3 MiB of kernel memory at both ends. With this value 5,000 connections held 0.33 MiB each.
With twice this value they reached `tcp_mem`, above which no connection can send (`make chaos`, number 10)."""


class Pressure(IntEnum):
    """How close the sum is to a mark."""

    NONE = 0
    HALF = 1  #: above half: the kernel's buffers of stalled and new connections are bounded
    FULL = 2  #: above it: stalled connections are not read from, others in small pieces


class SendBudget:
    """The bytes that wait to be sent to all connections together.

    `tell` is called with `reading.paused` when the sum rises above a limit, and with `reading.resumed` when it has
    fallen again.
    """

    def __init__(self, tell: Callable[..., None] = lambda _name, **_fields: None) -> None:
        self.total = 0  #: bytes
        self._missed = self._ended = 0
        self.tell = tell
        self._marks: dict[int, Watermark] = {}
        self._ceiling: float = sys.maxsize  # above this, or below the floor, the pressure on some mark changes
        self._floor: float = -1

    def mark(self, limit: int) -> Watermark:
        """The watermark at `limit` bytes."""
        if limit not in self._marks:
            self._marks[limit] = Watermark(self, limit)
            self._weigh()
        return self._marks[limit]

    def change(self, by: int) -> None:
        """Add `by` bytes to the sum; negative if fewer wait than before."""
        self.total += by
        if self.total > self._ceiling or self.total < self._floor:
            self._weigh()

    @property
    def missed(self) -> int:
        """Lines that outboxes dropped because their readers were too slow."""
        return self._missed

    @property
    def ended(self) -> int:
        """Readers that were disconnected because they did not catch up."""
        return self._ended

    def miss(self, count: int) -> None:
        """Count dropped lines."""
        self._missed += count

    def end_reader(self) -> None:
        """Count a disconnected reader."""
        self._ended += 1

    def figures(self) -> dict[str, int]:
        """The counters of outboxes that are not 0, by their names in the log."""
        counters = {"missed": self.missed, "readers_ended": self.ended}
        return {name: count for name, count in counters.items() if count}

    def _weigh(self) -> None:
        marks = list(self._marks.values())
        changed = [mark for mark in marks if mark.weigh(self.total)]
        self._ceiling = min((mark.ceiling for mark in marks), default=sys.maxsize)
        self._floor = max((mark.floor for mark in marks), default=-1)
        for mark in changed:
            mark.press()


class Watermark:
    """One limit on the sum, and its listeners."""

    def __init__(self, budget: SendBudget, limit: int) -> None:
        self.budget = budget
        self.limit = limit
        self.pressure = Pressure.NONE
        self.change = budget.change
        self._listeners: dict[Callable[[Pressure], None], None] = {}
        self._reported = False  # whether `reading.paused` was the last event

    def join(self, listener: Callable[[Pressure], None]) -> None:
        """Call `listener` with the pressure now, and at each change."""
        self._listeners[listener] = None
        self._report()
        listener(self.pressure)

    def leave(self, listener: Callable[[Pressure], None]) -> None:
        """Stop calling `listener`."""
        self._listeners.pop(listener, None)
        self._report()

    def weigh(self, total: int) -> bool:
        """Set the pressure for a sum of `total` bytes; whether it has changed.

        It changes when the sum leaves the range from `floor` to `ceiling`.
        """
        before = self.pressure
        if total > self.ceiling or total < self.floor:
            self.pressure = self._pressure_of(total)
        return self.pressure is not before

    def _pressure_of(self, total: int) -> Pressure:
        if total > self.limit:
            return Pressure.FULL
        return Pressure.HALF if total > self.limit / 2 else Pressure.NONE

    @property
    def ceiling(self) -> float:
        """The bytes above which the pressure rises."""
        if self.pressure is Pressure.FULL:
            return sys.maxsize
        return self.limit if self.pressure is Pressure.HALF else self.limit / 2

    @property
    def floor(self) -> float:
        """The bytes below which the pressure falls."""
        if self.pressure is Pressure.NONE:
            return -1
        return RELIEVED * (self.limit / 2 if self.pressure is Pressure.HALF else self.limit)

    def press(self) -> None:
        """Call all listeners with the pressure."""
        self._report()
        for listener in tuple(self._listeners):
            listener(self.pressure)

    def _report(self) -> None:
        exceeded = self.pressure is Pressure.FULL and bool(self._listeners)  # a mark in use, and the sum is above it
        if exceeded != self._reported:
            self._reported = exceeded
            self.budget.tell("reading.paused" if exceeded else "reading.resumed", limit=self.limit)
