"""Lines written to a file, a pipe, a terminal or the journal, without the event loop ever waiting for it.

A full disk, a closed pipe or a stopped terminal must not stop the service: a thread writes, the queue before it is
bounded, and lines that do not fit are counted. The thread ends when it has had nothing to write for IDLE: while a
process has one thread, the C library takes shorter ways through its locks and its calls that may block.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from echod.telemetry.journal import Journal, is_journal
from echod.telemetry.threads import NoThread, start

WAITING: Final = 10_000  #: lines that may wait to be written
WAITING_BYTES: Final = 4 << 20  #: and bytes of them, for a service shows as much as a peer sends
AT_THE_END: Final = 1.0  #: seconds that the last lines have to get out
IDLE: Final = 0.1
"""Seconds without a line after which the thread ends: long enough that a steady output needs one thread, not many."""

Item = tuple[bool, bytes]  # whether it is an entry of the journal, and what to write


class Output:
    """A descriptor or an appended file that takes lines, and the journal that takes entries beside them.

    Until `start` it writes at once: the process may still fork, and a thread would stay behind. `opened` is a
    descriptor of the file, where another user has opened it first. Raises OSError where the file cannot be opened.
    """

    def __init__(self, target: int | str, journal: Journal | None = None, opened: int | None = None) -> None:
        self.lost = 0
        self.dressed: Callable[[str], str] = _with_end  #: what is written for a line; somebody may be typing below it
        self.journal = journal or Journal()
        self._path = os.path.abspath(target) if isinstance(target, str) else None
        self._descriptor = target if isinstance(target, int) else -1 if opened is None else opened
        self._waiting: deque[Item] = deque()
        self._bytes = 0  # in it
        self._wake = threading.Condition()
        self._started = False
        self._thread: threading.Thread | None = None
        self._ending = False
        self._torn = b""  # ends what was written of a line that did not fit
        if self._descriptor < 0:
            self.reopen()

    def reopen(self) -> None:
        """Open the file of this path again, after a rename. Raises OSError, and goes on with the old file then."""
        if self._path is not None:
            opened = open_to_append(self._path)
            if self._descriptor < 0:
                self._descriptor = opened
            else:  # in one step, for the thread may be just about to write
                os.dup2(opened, self._descriptor, inheritable=False)
                os.close(opened)

    @property
    def path(self) -> str | None:
        """The file that it opens again; None is a descriptor."""
        return self._path

    @property
    def is_terminal(self) -> bool:
        """Whether a person may be reading at once."""
        return os.isatty(self._descriptor)

    def start(self) -> None:
        """Write from a thread from now on. Raises NoThread."""
        with self._wake:
            self._ending = False
            if self._thread is None:
                self._begin_thread()
        self._started = True

    def stop(self) -> None:
        """Write what waits, for AT_THE_END at most; later lines are written at once again."""
        if not self._started:
            return
        with self._wake:
            self._ending = True
            self._wake.notify()
            if self._waiting and self._thread is None:
                self._without_thread()
            thread = self._thread
        if thread is not None:
            thread.join(AT_THE_END)
        with self._wake:
            self.lost += len(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            if thread is None or not thread.is_alive():  # else nothing is read: lines that come now are lost too
                self._started = False
                self.journal.close()

    def is_journal(self, environ: Mapping[str, str]) -> bool:
        """Whether lines become entries of the journal by themselves."""
        return self._path is None and is_journal(self._descriptor, environ)

    def line(self, text: str) -> int:
        """Take one line, without its end. Returns its length in bytes."""
        return self.put(self.dressed(text))

    def entry(self, entry: bytes) -> int:
        """Take one entry of the journal. Returns its length in bytes."""
        return self._take((True, entry))

    def put(self, text: str) -> int:
        """Take text as it is. Returns its length in bytes."""
        return self._take((False, text.encode("utf-8", "backslashreplace")))

    def _take(self, item: Item) -> int:
        size = len(item[1])
        if not self._started:
            self._write(item)
            return size
        with self._wake:
            if self._ending or len(self._waiting) >= WAITING or self._bytes + size > WAITING_BYTES:
                self.lost += 1
                return size
            self._bytes += size
            self._waiting.append(item)
            if self._thread is not None:
                self._wake.notify()
                return size
            try:
                self._begin_thread()
            except NoThread:
                self._without_thread()
        return size

    def _begin_thread(self) -> None:
        """Start the thread that writes; `_wake` is held. Raises NoThread."""
        thread = threading.Thread(target=self._write_all, name="output", daemon=True)
        start(thread)
        self._thread = thread

    def _write_all(self) -> None:
        while (item := self._next()) is not None:
            self._write(item)

    def _next(self) -> Item | None:
        """What the thread writes next; None ends it, and the next line needs another."""
        with self._wake:
            if not self._waiting and not self._ending:
                self._wake.wait(IDLE)
            if not self._waiting:
                self._thread = None
                return None
            item = self._waiting.popleft()
            self._bytes -= len(item[1])
            return item

    def _without_thread(self) -> None:
        """Write what the descriptor takes at once, where no thread can be started; the rest waits. `_wake` is held."""
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        while self._waiting and ready.poll(0):
            item = self._waiting.popleft()
            self._bytes -= len(item[1])
            self._write(item)

    def _write(self, item: Item) -> None:
        is_entry, data = item
        if not is_entry:
            self._write_line(data)
            return
        try:
            self.journal.send(data)
        except OSError:  # it is busy, or gone
            self.lost += 1

    def _write_line(self, data: bytes) -> None:
        whole = self._torn + data
        rest = memoryview(whole)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:  # no space, nobody reading: the service goes on
            self.lost += 1
        if len(rest) < len(whole):
            self._torn = b"\n" if rest else b""


def open_to_append(path: str, flags: int = 0, *, create: bool = True) -> int:
    """A descriptor that appends to a file or writes into a named pipe. Raises OSError, never waits for a reader."""
    flags |= os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT if create else 0)
    try:
        opened = os.open(path, flags, 0o640)
    except OSError as error:
        if error.errno == errno.ENXIO:  # open(2): a pipe without a reader, or a socket
            raise OSError(error.errno, "nobody reads from it", path) from None
        raise
    os.set_blocking(opened, True)  # only the opening may not wait: a thread writes
    return opened


def _with_end(text: str) -> str:
    return f"{text}\n"
