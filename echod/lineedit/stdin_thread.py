"""Reads standard input in a thread, so that it never blocks the reactor."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from fcntl import ioctl
from termios import FIONREAD
from typing import Any, Final

PIECE: Final = 65_536  #: bytes of a read: the most that is held of an endless input
STOLEN: Final = 1.0
"""Seconds after which a read of reported data is one that another process has taken, as two readers of a pipe do."""
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  #: U+FEFF in UTF-8, which some editors write at the start of a file


class Input:
    """Reads a descriptor in a thread, piece by piece. It may be a file, a pipe or a terminal.

    `take` is called with each piece, and with b"" at the end of input. `failed` is called with the error if the
    descriptor cannot be read; then reading ends. Both are called in the reactor's thread. A piece is read only after a
    call of `more`. Reading also waits if another process made the descriptor non-blocking.
    """

    def __init__(
        self,
        reactor: Any,
        descriptor: int,
        take: Callable[[bytes], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._take = take
        self._failed = failed
        self._wanted = threading.Semaphore(0)
        self._reading = threading.Lock()  # held from the read of a piece until it is counted
        self._held = 0  # bytes that were read and are not delivered yet
        threading.Thread(target=self._read, name="input", daemon=True).start()

    def more(self) -> None:
        """Read the next piece."""
        self._wanted.release()

    @property
    def has_data(self) -> bool:
        """Whether there is data that was not taken yet. The end of input is none, nor is a device such as /dev/null."""
        if not self._reading.acquire(timeout=STOLEN):
            return False
        try:
            return self._held > 0 or _unread(self._descriptor)
        finally:
            self._reading.release()

    def _read(self) -> None:
        piece = b"?"
        while piece:
            self._wanted.acquire()
            if not os.isatty(self._descriptor):  # a read of a terminal stops a background process (SIGTTIN)
                _wait_for_input(self._descriptor)
            try:
                with self._reading:
                    piece = read_blocking(self._descriptor)
                    self._held = len(piece)
            except OSError as error:
                self._reactor.callFromThread(self._failed, error)
                return
            self._reactor.callFromThread(self._deliver, piece)

    def _deliver(self, piece: bytes) -> None:
        self._held = 0
        self._take(piece)


def _unread(descriptor: int) -> bool:
    """Whether the kernel has data for a read: of a file from its position, or in a pipe or socket."""
    try:
        return ioctl(descriptor, FIONREAD, bytes(4)) != bytes(4)
    except OSError:  # a device that has none to count
        return False


def _wait_for_input(descriptor: int) -> None:
    ready = select.poll()  # select(2) does not support descriptors above 1,023
    ready.register(descriptor, select.POLLIN)
    ready.poll()


def read_blocking(descriptor: int) -> bytes:
    """Up to PIECE bytes, or b"" at the end of input. Waits even if the descriptor is non-blocking. Raises OSError."""
    while True:
        try:
            return os.read(descriptor, PIECE)
        except BlockingIOError:
            _wait_for_input(descriptor)


def line_of(data: bytes) -> bytes:
    """A line without a leading byte order mark and without the CR of a CR LF."""
    return data.removeprefix(BYTE_ORDER_MARK).removesuffix(b"\r")
