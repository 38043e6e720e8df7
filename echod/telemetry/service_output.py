"""What services show: so many lines and bytes a second; beyond that only how many lines there were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from echod.text import counted

A_SECOND: Final = 1_000  #: lines: more than a person, a terminal or a log can follow
BYTES_A_SECOND: Final = 64 << 10
"""Bytes of them, as they are written: 5.3 GiB a day at most, where lines alone would allow 345 GiB."""


class Shown:
    """Passes lines on to `write`, A_SECOND of them and BYTES_A_SECOND in each second of `clock`, and counts the rest.

    `write` returns how many bytes it makes of a line. `later` calls something after so many seconds
    (reactor.callLater): the count comes when its second is over.
    """

    def __init__(
        self, write: Callable[[str], int], clock: Callable[[], float], later: Callable[..., Any] = lambda *_: None
    ) -> None:
        self._write = write
        self._clock = clock
        self._later = later
        self._second = -1
        self._lines = 0
        self._bytes = 0
        self._more = 0

    def __call__(self, line: str) -> None:
        """Show one line, already escaped."""
        second = int(self._clock())
        if second != self._second:
            self.settle()
            self._second = second
        fits = self._bytes + len(line.encode("utf-8", "backslashreplace")) < BYTES_A_SECOND
        if self._more == 0 and self._lines < A_SECOND and fits:
            self._lines += 1
            self._bytes += self._write(line)
            return
        self._more += 1
        if self._more == 1:
            self._later(1.0, self._settle_of, second)

    def has_room(self) -> bool:
        """Whether a short line would be passed on now, and not only counted."""
        room = self._more == 0 and self._lines < A_SECOND and self._bytes < BYTES_A_SECOND
        return room or int(self._clock()) != self._second

    def settle(self) -> None:
        """Say how many lines of the last second were not shown."""
        if self._more:
            self._write(f"… {counted(self._more, 'more line', 'more lines')} in that second")
        self._lines = self._bytes = self._more = 0

    def _settle_of(self, second: int) -> None:
        if second == self._second:
            self.settle()
