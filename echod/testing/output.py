"""The output of a process, read by a thread as it is written, so that the process never waits."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from typing import IO, Final

SECONDS: Final = 60.0
"""The default limit of a wait: with ten processes per core, a start of half a second takes 20 s."""


class DaemonError(AssertionError):
    """The daemon did not start, stopped by itself, or did not do something in time. The message has its log."""


class Output:
    """The lines of a pipe. Its owner may close it while the thread reads: the thread has a descriptor of its own."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.raw: list[bytes] = []  #: the lines so far, without line feeds
        self._pipe = pipe
        self._own = open(os.dup(pipe.fileno()), "rb")  # noqa: SIM115 - for the thread, which closes it
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._read, name="output of echod", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether the writer has closed the pipe, as its end does."""
        return not self._open

    @property
    def text(self) -> list[str]:
        """The lines so far, as text."""
        return [line.decode("utf-8", "backslashreplace") for line in self.raw]

    def wait_for(self, pattern: str, seconds: float = SECONDS) -> re.Match[str]:
        """Return the first match of a regular expression in any line, once there is one.

        Raises DaemonError if none appears in time, or the writer has exited without one.
        """
        ends = time.monotonic() + seconds
        searched = 0
        with self._changed:
            while True:
                for line in self.text[searched:]:
                    if match := re.search(pattern, line):
                        return match
                searched = len(self.raw)
                left = ends - time.monotonic()
                if not self._open or left <= 0:
                    why = "in time" if self._open else "and the writer has exited"
                    raise DaemonError(f"no line has {pattern!r}, {why}:\n" + "\n".join(self.text))
                self._changed.wait(left)

    def close(self, seconds: float = SECONDS) -> None:
        """Wait for the end of the pipe, and close it."""
        self._thread.join(seconds)
        self._pipe.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError), self._own:  # EIO is the end of a terminal
            for line in self._own:
                with self._changed:
                    self.raw.append(line.removesuffix(b"\n"))
                    self._changed.notify_all()
        with self._changed:
            self._open = False
            self._changed.notify_all()
