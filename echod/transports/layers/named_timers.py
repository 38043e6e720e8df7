"""Timers by name: at most one of each name is pending, and all can be cancelled together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class NamedTimers:
    """The timers of one object; `clock` has callLater."""

    __slots__ = ("_clock", "_pending")

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._pending: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._pending

    def begin(self, name: str, seconds: float, call: Callable[..., object], *arguments: object) -> None:
        """Call `call` after some seconds, unless a timer of this name is pending."""
        if name not in self._pending:
            self._pending[name] = self._clock.callLater(seconds, self._fire, name, call, arguments)

    def cancel(self) -> None:
        """Cancel all timers."""
        for timer in self._pending.values():
            timer.cancel()
        self._pending.clear()

    def _fire(self, name: str, call: Callable[..., object], arguments: tuple[object, ...]) -> None:
        del self._pending[name]
        call(*arguments)
