"""Limits the lines and bytes a second that services print, and counts the lines above the limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from echod.escaping import counted

A_SECOND: Final = 1_000  #: lines: more than an operator, a terminal or a log can follow
BYTES_A_SECOND: Final = 64 << 10
"""Bytes of these lines as written: at most 5.3 GiB a day. The limit of lines alone would allow 345 GiB."""


class ServiceOutput:
    """Passes at most A_SECOND lines and BYTES_A_SECOND bytes to `write` in each second of `clock`; counts the rest.

    `write` returns the number of bytes that it wrote for a line. `later(seconds, call, …)` calls after a delay
    (reactor.callLater); the count is printed after its second has ended.
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
        """Print one line, which is already escaped."""
        second = int(self._clock())
        if second != self._second:
            self.report_suppressed()
            self._second = second
        fits = self._bytes + len(line.encode("utf-8", "backslashreplace")) < BYTES_A_SECOND
        if self._more == 0 and self._lines < A_SECOND and fits:
            self._lines += 1
            self._bytes += self._write(line)
            return
        self._more += 1
        if self._more == 1:
            self._later(1.0, self._report_of, second)

    def has_room(self) -> bool:
        """Whether a short line would be printed now and not only counted."""
        room = self._more == 0 and self._lines < A_SECOND and self._bytes < BYTES_A_SECOND
        return room or int(self._clock()) != self._second

    def report_suppressed(self) -> None:
        """Print the number of lines of the last second that were dropped."""
        if self._more:
            self._write(f"… {counted(self._more, 'more line', 'more lines')} in that second")
        self._lines = self._bytes = self._more = 0

    def _report_of(self, second: int) -> None:
        if second == self._second:
            self.report_suppressed()
