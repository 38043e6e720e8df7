"""Limits the rate of lines of each class, and counts the rest, so that peers cannot fill the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

CLASSES: Final = 1_000
"""Maximum number of classes. There is one for each kind of event and each place in the code that logs."""
REST: Final = "others"


class LineRateLimit:
    """Limits lines by class, and counts the rest until `take` is called. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}  # start of the window, and lines passed in it
        self._held: dict[str, tuple[int, float]] = {}  # lines that did not pass, and when their class is reported

    def passes(self, what: str, most: int, seconds: float, report_after: float) -> bool:
        """Whether another line of this class may be written: `most` of them in each window of `seconds`.

        `report_after` names the report that tells how many were suppressed.
        """
        if what not in self._windows and len(self._windows) >= CLASSES:
            what = REST
        now = self._clock()
        since, passed = self._windows.get(what, (now, 0))
        if now - since >= seconds:
            since, passed = now, 0
        self._windows[what] = since, passed + 1
        if passed < most:
            return True
        self._held[what] = self._held.get(what, (0, report_after))[0] + 1, report_after
        return False

    def take_one(self, what: str) -> int:
        """Return and reset the number of suppressed lines of one class."""
        return self._held.pop(what, (0, 0.0))[0]

    def take(self, report: float | None = None) -> Mapping[str, int]:
        """Return and reset the suppressed lines of each class: of the classes of one report, or of all."""
        held = {what: count for what, (count, after) in self._held.items() if report in (None, after)}
        for what in held:
            del self._held[what]
        return held
