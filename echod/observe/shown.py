"""What services show: so many lines a second, and behind that only how many there were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from echod.text import counted

A_SECOND: Final = 1_000  #: lines: more than a person, a terminal or a log can follow


class Shown:
    """Passes lines on to `write`, A_SECOND of them in each second of `clock`, and counts the rest.

    `later` calls something after so many seconds (reactor.callLater): the count comes when its second is over.
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float], later: Callable[..., Any] = lambda *_: None
    ) -> None:
        self._write = write
        self._clock = clock
        self._later = later
        self._second = -1
        self._lines = 0

    def __call__(self, line: str) -> None:
        """Show one line, already escaped."""
        second = int(self._clock())
        if second != self._second:
            self.settle()
            self._second = second
        self._lines += 1
        if self._lines <= A_SECOND:
            self._write(line)
        elif self._lines == A_SECOND + 1:
            self._later(1.0, self._settle_of, second)

    def has_room(self) -> bool:
        """Whether a line would be passed on now, and not only counted."""
        return self._lines < A_SECOND or int(self._clock()) != self._second

    def settle(self) -> None:
        """Say how many lines of the last second were not shown."""
        if self._lines > A_SECOND:
            self._write(f"… {counted(self._lines - A_SECOND, 'more line', 'more lines')} in that second")
        self._lines = 0

    def _settle_of(self, second: int) -> None:
        if second == self._second:
            self.settle()
