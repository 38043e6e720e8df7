"""Echo services as peers: each returns a datagram after a delay, unchanged or changed in some way."""

from __future__ import annotations

import codecs
import heapq
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, Self

Change = Callable[[bytes], bytes]

CHANGES: Final[Mapping[str, Change]] = MappingProxyType(
    {
        "as it came": bytes,
        "upper": bytes.upper,
        "rot13": lambda data: codecs.encode(data.decode("latin-1"), "rot13").encode("latin-1"),
        "reversed": lambda data: data[::-1],
        "cut": lambda data: data[:10],
        "prefix": lambda data: b"you said: " + data,
        "suffix": lambda data: data + b" (received)\r\n",
        "twice": lambda data: data * 2,
    }
)
NEAR: Final = 0.001  #: seconds to and from an echo service in the same building
FAR: Final = 0.08  #: and on another continent


class EchoPeer:
    """An echo service at `place`; it belongs to the network in which it was made.

    `received` and `bytes_received` count the datagrams and bytes that arrived.
    """

    def __init__(self, place: tuple[str, int], delay: float, change: Change = bytes) -> None:
        self.received = 0
        self.bytes_received = 0
        self._delay = delay
        self._change = change
        self._socket = socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(place)
        self.place: tuple[str, int] = self._socket.getsockname()[:2]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop returning datagrams."""
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        due: list[tuple[float, int, bytes, Any]] = []
        while not self._over.is_set():
            wait = max(due[0][0] - time.monotonic(), 0.0) if due else 0.05
            if select.select([self._socket], [], [], wait)[0]:
                with suppress(OSError):
                    data, source = self._socket.recvfrom(65_536)
                    self.received += 1
                    self.bytes_received += len(data)
                    heapq.heappush(due, (time.monotonic() + self._delay, self.received, self._change(data), source))
            while due and due[0][0] <= time.monotonic():
                *_, data, source = heapq.heappop(due)
                with suppress(OSError):
                    self._socket.sendto(data, source)
