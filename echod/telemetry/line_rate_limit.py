"""So many lines of one class, and behind that only how many there were: nobody fills a log by making us complain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

CLASSES: Final = 1_000
"""Classes that are told apart; there are as many as there are kinds of events and places in the code that complain."""
REST: Final = "others"


class Rations:
    """Passes lines by their class and counts the rest, until somebody takes the counts; `clock` never steps back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}  # since when, and how many passed
        self._held: dict[str, tuple[int, float]] = {}  # how many did not, and the window of their class

    def passes(self, what: str, most: int, seconds: float) -> bool:
        """Whether another line of this class may be written: `most` of them in each window of `seconds`."""
        if what not in self._windows and len(self._windows) >= CLASSES:
            what = REST
        now = self._clock()
        since, passed = self._windows.get(what, (now, 0))
        if now - since >= seconds:
            since, passed = now, 0
        self._windows[what] = since, passed + 1
        if passed < most:
            return True
        self._held[what] = self._held.get(what, (0, seconds))[0] + 1, seconds
        return False

    def take(self, window: float | None = None) -> Mapping[str, int]:
        """How many lines of each class were held back since the last time: of classes with this window, or of all."""
        held = {what: count for what, (count, seconds) in self._held.items() if window in (None, seconds)}
        for what in held:
            del self._held[what]
        return held
