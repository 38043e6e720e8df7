"""Writes lines to a file, a pipe, a terminal or the journal. The event loop never blocks on them.

A full disk, a closed pipe or a stopped terminal must not stop the service. So a thread writes, its queue is bounded,
and lines that do not fit are counted. The thread ends after IDLE seconds without a line. While a process has one
thread, locks and blocking calls of the C library are faster.
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

WAITING: Final = 10_000  #: maximum number of queued lines
WAITING_BYTES: Final = 4 << 20  #: maximum bytes of queued lines: a service prints as much as its peers send
AT_THE_END: Final = 1.0  #: seconds that `stop` waits for the last lines to be written
IDLE: Final = 0.1
"""Seconds without a line after which the thread ends. A steady output keeps the same thread."""

Item = tuple[bool, bytes]  # whether it is a journal entry; the bytes to write


class BackgroundWriter:
    """Writes lines to a descriptor or appends them to a file, and sends entries to the journal.

    Before `start` it writes synchronously, because the process may still fork and a fork does not copy threads.
    `opened` is a descriptor of the file if it was already opened, for example as another user. Raises OSError if the
    file cannot be opened.
    """

    def __init__(self, target: int | str, journal: Journal | None = None, opened: int | None = None) -> None:
        self.lost = 0
        self.dressed: Callable[[str], str] = _with_end  #: the text for a line; the console adds its input
        self.journal = journal or Journal()
        self._path = os.path.abspath(target) if isinstance(target, str) else None
        self._descriptor = target if isinstance(target, int) else -1 if opened is None else opened
        self._waiting: deque[Item] = deque()
        self._bytes = 0  # in `_waiting`
        self._wake = threading.Condition()
        self._started = False
        self._thread: threading.Thread | None = None
        self._ending = False
        self._torn = b""  # a line feed if the last line was written in part
        if self._descriptor < 0:
            self.reopen()

    def reopen(self) -> None:
        """Open the path again, after a rename. Raises OSError if that fails, and keeps the old file."""
        if self._path is not None:
            opened = open_to_append(self._path)
            if self._descriptor < 0:
                self._descriptor = opened
            else:  # atomic, because the thread may be writing
                os.dup2(opened, self._descriptor, inheritable=False)
                os.close(opened)

    @property
    def path(self) -> str | None:
        """The file that `reopen` opens; None if the target is a descriptor."""
        return self._path

    @property
    def is_terminal(self) -> bool:
        """Whether the target is a terminal."""
        return os.isatty(self._descriptor)

    def start(self) -> None:
        """Write from a thread from now on. Raises NoThread if the thread cannot be started."""
        with self._wake:
            self._ending = False
            if self._thread is None:
                self._begin_thread()
        self._started = True

    def stop(self) -> None:
        """Write queued lines, for at most AT_THE_END seconds. Later lines are written synchronously."""
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
            if thread is None or not thread.is_alive():  # otherwise the target blocks, and later lines are lost too
                self._started = False
                self.journal.close()

    def is_journal(self, environ: Mapping[str, str]) -> bool:
        """Whether the target is connected to the journal, which makes an entry of each line."""
        return self._path is None and is_journal(self._descriptor, environ)

    def line(self, text: str) -> int:
        """Write or queue one line, given without its line feed. Returns its length in bytes."""
        return self.put(self.dressed(text))

    def entry(self, entry: bytes) -> int:
        """Send or queue one journal entry. Returns its length in bytes."""
        return self._take((True, entry))

    def put(self, text: str) -> int:
        """Write or queue text unchanged. Returns its length in bytes."""
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
        """Start the thread that writes. The caller holds `_wake`. Raises NoThread."""
        thread = threading.Thread(target=self._write_all, name="output", daemon=True)
        start(thread)
        self._thread = thread

    def _write_all(self) -> None:
        while (item := self._next()) is not None:
            self._write(item)

    def _next(self) -> Item | None:
        """The next item to write; None ends the thread, and the next line starts another."""
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
        """Write as much as the descriptor accepts without blocking, because a thread cannot be started.

        The rest stays queued. The caller holds `_wake`.
        """
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
        except OSError:  # the journal is busy or does not exist
            self.lost += 1

    def _write_line(self, data: bytes) -> None:
        whole = self._torn + data
        rest = memoryview(whole)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:  # disk full, or pipe without a reader: the service continues
            self.lost += 1
        if len(rest) < len(whole):
            self._torn = b"\n" if rest else b""


def open_to_append(path: str, flags: int = 0, *, create: bool = True) -> int:
    """Open a file to append to, or a named pipe to write to. Raises OSError; does not wait for a reader of the pipe."""
    flags |= os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT if create else 0)
    try:
        opened = os.open(path, flags, 0o640)
    except OSError as error:
        if error.errno == errno.ENXIO:  # open(2): a pipe without a reader, or a socket
            raise OSError(error.errno, "no process reads from it", path) from None
        raise
    os.set_blocking(opened, True)  # only open(2) must not block: a thread writes
    return opened


def _with_end(text: str) -> str:
    return f"{text}\n"
