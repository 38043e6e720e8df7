"""Reads standard input in a thread, so that it never blocks the reactor."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any, Final

PIECE: Final = 65_536  #: bytes of a read: the most that is held of an endless input
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
        self._busy = False  # a piece is being read, or was read and is not delivered
        threading.Thread(target=self._read, name="input", daemon=True).start()

    def more(self) -> None:
        """Read the next piece."""
        self._wanted.release()

    @property
    def is_pending(self) -> bool:
        """Whether a piece, or the end of input, can be read without waiting, or was read and is not taken yet."""
        return self._busy or bool(_readiness(self._descriptor).poll(0))

    def _read(self) -> None:
        piece = b"?"
        while piece:
            self._wanted.acquire()
            if not os.isatty(self._descriptor):  # a read of a terminal stops a background process (SIGTTIN)
                _readiness(self._descriptor).poll()
                self._busy = True
            try:
                piece = read_blocking(self._descriptor)
            except OSError as error:
                self._reactor.callFromThread(self._deliver, self._failed, error)
                return
            self._reactor.callFromThread(self._deliver, self._take, piece)

    def _deliver(self, call: Callable[[Any], None], result: Any) -> None:
        self._busy = False
        call(result)


def _readiness(descriptor: int) -> select.poll:
    ready = select.poll()  # select(2) does not support descriptors above 1,023
    ready.register(descriptor, select.POLLIN)
    return ready


def read_blocking(descriptor: int) -> bytes:
    """Up to PIECE bytes, or b"" at the end of input. Waits even if the descriptor is non-blocking. Raises OSError."""
    ready = _readiness(descriptor)
    while True:
        try:
            return os.read(descriptor, PIECE)
        except BlockingIOError:
            ready.poll()


def line_of(data: bytes) -> bytes:
    """A line without a leading byte order mark and without the CR of a CR LF."""
    return data.removeprefix(BYTE_ORDER_MARK).removesuffix(b"\r")
