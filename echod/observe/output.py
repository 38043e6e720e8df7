"""Lines written to a file, a pipe, a terminal or the journal, without ever waiting for it.

A full disk, a closed pipe or a terminal that somebody stopped must not stop the service: a thread writes, the
queue before it is bounded, and what does not fit is counted.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from echod.observe.journal import Journal, is_journal

WAITING: Final = 10_000  #: lines that may wait to be written
WAITING_CHARACTERS: Final = 4 << 20  #: and characters of them, for a service shows as much as a peer sends
AT_THE_END: Final = 1.0  #: seconds that the last lines have to get out


class Output:
    """A descriptor or an appended file that takes lines, and the journal that takes entries beside them.

    Until `start` it writes at once: the process may still fork, and a thread would stay behind.
    Raises OSError where the file cannot be opened.
    """

    def __init__(self, target: int | str, journal: Journal | None = None) -> None:
        self.lost = 0
        self.dressed: Callable[[str], str] = _with_end  #: what is written for a line; somebody may be typing below it
        self.journal = journal or Journal()
        self._path = os.path.abspath(target) if isinstance(target, str) else None
        self._descriptor = target if isinstance(target, int) else -1
        self._waiting: deque[str | bytes] = deque()
        self._characters = 0  # in it
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ending = False
        self._torn = b""  # ends what was written of a line that did not fit
        self.reopen()

    def reopen(self) -> None:
        """Open the file of this path anew, after somebody renamed it. Raises OSError, and goes on with the old."""
        if self._path is not None:
            opened = _opened(self._path)
            if self._descriptor < 0:
                self._descriptor = opened
            else:  # in one step, for the thread may be just about to write
                os.dup2(opened, self._descriptor, inheritable=False)
                os.close(opened)

    @property
    def path(self) -> str | None:
        """The file that it opens anew; None is a descriptor."""
        return self._path

    def give_to(self, user: int, group: int) -> None:
        """Make the file somebody's who may open it anew then. Raises OSError."""
        if self._path is not None:
            os.fchown(self._descriptor, user, group)

    def start(self) -> None:
        """Write from a thread from now on."""
        self._ending = False
        self._thread = threading.Thread(target=self._write_all, name="output", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, for AT_THE_END at most; later lines are written at once again."""
        if self._thread is not None:
            with self._wake:
                self._ending = True
                self._wake.notify()
            self._thread.join(AT_THE_END)
            if not self._thread.is_alive():
                self._thread = None
                self.journal.close()
                return
            with self._wake:  # nobody reads: what comes now is lost too
                self.lost += len(self._waiting)
                self._waiting.clear()
                self._characters = 0

    def is_journal(self, environ: Mapping[str, str]) -> bool:
        """Whether lines become entries of the journal by themselves."""
        return self._path is None and is_journal(self._descriptor, environ)

    def line(self, text: str) -> None:
        """Take one line, without its end."""
        self.put(self.dressed(text))

    def entry(self, entry: bytes) -> None:
        """Take one entry of the journal."""
        self.put(entry)

    def put(self, item: str | bytes) -> None:
        """Take text as it is, or an entry."""
        if self._thread is None:
            self._write(item)
            return
        with self._wake:
            if self._ending or len(self._waiting) >= WAITING or self._characters + len(item) > WAITING_CHARACTERS:
                self.lost += 1
            else:
                self._characters += len(item)
                self._waiting.append(item)
                self._wake.notify()

    def _write_all(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._ending:
                    self._wake.wait()
                if not self._waiting:
                    return
                item = self._waiting.popleft()
                self._characters -= len(item)
            self._write(item)

    def _write(self, item: str | bytes) -> None:
        if isinstance(item, str):
            self._write_line(item)
            return
        try:
            self.journal.send(item)
        except OSError:  # it is busy, or gone
            self.lost += 1

    def _write_line(self, text: str) -> None:
        whole = self._torn + text.encode("utf-8", "backslashreplace")
        rest = memoryview(whole)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:  # no space, nobody reading: the service goes on
            self.lost += 1
        if len(rest) < len(whole):
            self._torn = b"\n" if rest else b""


def _opened(path: str) -> int:
    """A descriptor that appends to a file or writes into a named pipe. Raises OSError, never waits for a reader."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        opened = os.open(path, flags, 0o640)
    except OSError as error:
        if error.errno == errno.ENXIO:  # open(2): a pipe without a reader, or a socket
            raise OSError(error.errno, "nobody reads from it", path) from None
        raise
    os.set_blocking(opened, True)  # only to open it nobody may wait: it is written by a thread
    return opened


def _with_end(text: str) -> str:
    return f"{text}\n"
