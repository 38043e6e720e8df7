"""Limits the rate of lines of each class, and counts the rest, so that peers cannot fill the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

CLASSES: Final = 1_000
"""Maximum number of classes. There is one for each kind of event and each place in the code that logs."""
REST: Final = "others"


class Rations:
    """Limits lines by class, and counts the rest until `take` is called. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}  # start of the window, and lines passed in it
        self._held: dict[str, tuple[int, float]] = {}  # lines suppressed, and the window of the class in seconds

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
        """Return and reset the suppressed lines of each class: of classes with this window in seconds, or of all."""
        held = {what: count for what, (count, seconds) in self._held.items() if window in (None, seconds)}
        for what in held:
            del self._held[what]
        return held
