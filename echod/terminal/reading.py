"""What a person or a pipe sends us: read in a thread, so that no descriptor ever blocks the reactor."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Final

PIECE: Final = 65_536  #: octets of input at a time: what is held of an endless upload


class Input:
    """Reads a descriptor piece by piece in a thread: files, pipes and terminals alike.

    `take` gets each piece, and b"" at the end, in the reactor's thread; nothing is read on until `more` is called.
    """

    def __init__(self, reactor: Any, descriptor: int, take: Callable[[bytes], None]) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._take = take
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
                piece = os.read(self._descriptor, PIECE)
            except OSError:  # a terminal that has gone
                piece = b""
            self._reactor.callFromThread(self._take, piece)
