"""Turns of a reactor for tests: a call later with 0 seconds runs in the next turn, and not in the current one."""

from __future__ import annotations

from collections.abc import Callable


class Turns:
    """Stands for callLater; delays above 0 are ignored."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """As callLater."""
        if not seconds:
            self.calls.append(call)

    def turn(self) -> None:
        """One turn: all calls that were requested before it."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()

    def all(self) -> int:
        """Turns until nothing is left to do; how many."""
        count = 0
        while self.calls:
            self.turn()
            count += 1
        return count
