"""The time that the admin interface may use in one turn of the reactor, over all its connections. Pure.

Long responses are built in slices. If the time of this turn is used up, a connection waits here and continues in a
later turn. Without this, thirty readers of a long list would block the reactor for the time of thirty lists.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

TURN: Final = 0.001  #: seconds in one turn: clients of other services wait at most this long and one slice

Later = Callable[[float, Callable[[], None]], object]


def at_once(_seconds: float, call: Callable[[], None]) -> None:
    """Call immediately: the `later` of a session without a reactor."""
    call()


class TurnBudget:
    """Seconds of work in one turn. `clock` is in seconds; `later(0, call)` calls in the next turn."""

    def __init__(self, clock: Callable[[], float], later: Later = at_once, seconds: float = TURN) -> None:
        self._clock = clock
        self._later = later
        self._seconds = seconds
        self._used = 0.0
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    @property
    def is_spent(self) -> bool:
        """Whether the time of this turn is used up: `wait`, and continue when called."""
        return self._used >= self._seconds

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count the time that the block takes."""
        began = self._clock()
        try:
            yield
        finally:
            self._used += self._clock() - began

    def wait(self, call: Callable[[], None]) -> None:
        """Make a call in a later turn, first come first served."""
        self._waiting.append(call)
        self._schedule()

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._later(0, self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._used = 0.0
        for _ in range(len(self._waiting)):  # a call may wait again, which is for the turn after this one
            if self.is_spent:
                break
            self._waiting.popleft()()
        self._schedule()
