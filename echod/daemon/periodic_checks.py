"""The checks that the daemon makes again and again while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

LOG: Final = Logger()


class PeriodicChecks:
    """Calls functions at fixed intervals, by `clock`, which has callLater."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._calls: list[tuple[LoopingCall, float]] = []

    def add(self, seconds: float, check: Callable[[], None]) -> None:
        """Call `check` at the start, and then every so many seconds."""
        call = LoopingCall(self._make, check)
        call.clock = self._clock
        self._calls.append((call, seconds))

    def start(self) -> None:
        """Begin. A check that raises is logged, and is made again: what it protects needs it."""
        for call, seconds in self._calls:
            call.start(seconds)

    def stop(self) -> None:
        """End all checks."""
        for call, _ in self._calls:
            if call.running:
                call.stop()

    @staticmethod
    def _make(check: Callable[[], None]) -> None:
        try:
            check()
        except Exception:
            LOG.failure("a periodic check has failed")
