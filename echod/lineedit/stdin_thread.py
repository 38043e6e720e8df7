"""Standard input, read in a thread, so that no descriptor ever blocks the reactor."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any, Final

PIECE: Final = 65_536  #: bytes of input at a time: what is held of an endless upload
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  #: U+FEFF in UTF-8, which some editors write at the start of a file


class Input:
    """Reads a descriptor piece by piece in a thread: files, pipes and terminals alike.

    `take` is called with each piece, and with b"" at the end of input. `failed` is called with the error if the
    descriptor cannot be read; nothing is read after it. Both run in the reactor's thread. The next piece is read only
    after a call of `more`. A descriptor that another process made non-blocking is waited for.
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
        threading.Thread(target=self._read, name="input", daemon=True).start()

    def more(self) -> None:
        """Read the next piece."""
        self._wanted.release()

    def _read(self) -> None:
        piece = b"?"
        while piece:
            self._wanted.acquire()
            try:
                piece = read_blocking(self._descriptor)
            except OSError as error:
                self._reactor.callFromThread(self._failed, error)
                return
            self._reactor.callFromThread(self._take, piece)


def read_blocking(descriptor: int) -> bytes:
    """Up to PIECE bytes, or b"" at the end of input. Waits, also if the descriptor is non-blocking. Raises OSError."""
    ready = select.poll()  # select() takes no descriptor above 1,023
    ready.register(descriptor, select.POLLIN)
    while True:
        try:
            return os.read(descriptor, PIECE)
        except BlockingIOError:
            ready.poll()


def line_of(data: bytes) -> bytes:
    """A typed or pasted line without a byte order mark before it and the CR of a CR LF after it."""
    return data.removeprefix(BYTE_ORDER_MARK).removesuffix(b"\r")
