"""A fixed schedule for probes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

BEHIND: Final = 1.0
"""Seconds of the schedule that are made up for. After a longer stop, the missed turns are left out."""


class Schedule:
    """Calls `turn` at once and then every `interval` seconds, counted from the first call: no drift."""

    def __init__(self, reactor: Any, clock: Callable[[], float], interval: float, turn: Callable[[], None]) -> None:
        self._reactor = reactor
        self._clock = clock
        self._interval = interval
        self._turn = turn
        self._begun = 0.0
        self._turns = 0  # called or left out
        self._next: Any = None

    def start(self) -> None:
        """Start: the first turn is at the next turn of the reactor."""
        self._begun = self._clock()
        self._next = self._reactor.callLater(0, self._now)

    def stop(self) -> None:
        """Call `turn` no more."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def _now(self) -> None:
        self._turns += 1
        late = self._clock() - self._begun - self._turns * self._interval
        if late > BEHIND:
            self._turns += int(late / self._interval)
        due = self._begun + self._turns * self._interval
        self._next = self._reactor.callLater(max(0.0, due - self._clock()), self._now)
        self._turn()
