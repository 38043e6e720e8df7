"""The schedule of probes: at fixed intervals, at random ones, or as soon as replies arrive."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from echod.client.timers import Timer

BEHIND: Final = 1.0
"""Seconds of the schedule that are made up for. After a longer stop, the missed turns are left out."""
SPUN: Final = 0.0002
"""Seconds before a turn that are waited in a loop, if the interval is below a millisecond. Waking up takes the kernel
that long on a busy machine."""
MOST: Final = 16  #: turns before the reactor reads replies: the kernel has noted their time of arrival
SHORT: Final = 0.001  #: seconds: shorter intervals are held by the loop


class Schedule:
    """Calls `turn` at once, and then after each interval, counted from the first call: no drift.

    With `chance` the intervals are exponentially distributed around `interval`: a Poisson process (RFC 2330 11.1.1).
    Poisson times are those at which another sender's bursts are sampled without bias. `lateness` is called with the
    seconds by which each turn was late.
    """

    def __init__(
        self,
        timer: Timer,
        clock: Callable[[], float],
        interval: float,
        turn: Callable[[], None],
        *,
        chance: random.Random | None = None,
        lateness: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._timer = timer
        self._clock = clock
        self._interval = interval
        self._turn = turn
        self._chance = chance
        self._lateness = lateness
        self._spun = SPUN if interval < SHORT else 0.0
        self._begun = 0.0
        self._turns = 0  # called or left out, of the fixed intervals
        self._due = 0.0
        self._running = False

    def start(self) -> None:
        """Start: the first turn is at the next turn of the reactor."""
        self._begun = self._due = self._clock()
        self._running = True
        self._timer.wake(0, self._now)

    def stop(self) -> None:
        """Call `turn` no more."""
        if self._running:
            self._running = False
            self._timer.stop()

    def hurry(self) -> None:
        """Call `turn` now, and count the intervals from now on."""
        if self._running:
            self._begun = self._due = self._clock()
            self._turns = 0
            self._timer.wake(0, self._now)

    def _now(self) -> None:
        """Call the turns that are due, and those that are due so soon that waking up again would be too late."""
        for _ in range(MOST if self._spun else 1):
            while self._spun and self._clock() < self._due:
                pass
            self._lateness(self._clock() - self._due)
            self._due = self._next()
            self._timer.wake(max(0.0, self._due - self._clock() - self._spun), self._now)
            self._turn()
            if not self._running or self._due - self._clock() > self._spun:
                return

    def _next(self) -> float:
        """The time of the next turn."""
        now = self._clock()
        if self._chance is not None:
            due = self._due + self._chance.expovariate(1 / self._interval)
            return now if now - due > BEHIND else due
        self._turns += 1
        late = now - self._begun - self._turns * self._interval
        if late > BEHIND:
            self._turns += int(late / self._interval)
        return self._begun + self._turns * self._interval
