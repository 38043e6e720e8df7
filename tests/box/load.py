"""Clients that send requests without a pause while the daemon is restarted, and count the result of every request."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Final, Self

from tests.box.box import Box
from tests.daemon import SECONDS, eventually

PAUSE: Final = 0.005  #: seconds between two requests of one client, so that the daemon has time to start
ENOUGH: Final = 10  #: requests of each client before the block begins
SIZE: Final = 1024  #: bytes of a request

Ask = Callable[[bytes], bytes]


def tcp(port: int) -> Ask:
    """One request over a new connection, as most clients do."""
    return lambda question: _stream(socket.create_connection(("127.0.0.1", port), SECONDS), question)


def unix(path: str) -> Ask:
    """The same over a Unix socket."""

    def ask(question: bytes) -> bytes:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(SECONDS)
        client.connect(path)
        return _stream(client, question)

    return ask


def udp(port: int) -> Ask:
    """One datagram, and its reply."""

    def ask(question: bytes) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(SECONDS)
            client.connect(("127.0.0.1", port))
            client.send(question)
            return client.recv(65_536)

    return ask


def _stream(client: socket.socket, question: bytes) -> bytes:
    with client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(65_536):
            answer += part
        return answer


class Load:
    """The clients, from `with` to the end of the block; then `counts` has the results of their requests, by client.

    `right` counts correct replies; every other key is the name of an error, such as ECONNREFUSED, or `wrong`.
    """

    def __init__(self, box: Box, **asks: Ask) -> None:
        self._box = box
        self._asks = asks
        self._over = threading.Event()
        self.counts = {name: Counter[str]() for name in asks}
        self.longest = dict.fromkeys(asks, 0.0)

    def __enter__(self) -> Self:
        self._threads = [
            self._box.in_network(partial(self._go_on, name, ask)) for name, ask in self._asks.items() for _ in range(2)
        ]
        if not eventually(lambda: all(counted.total() > ENOUGH for counted in self.counts.values())):
            self._over.set()
            raise AssertionError(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * SECONDS)
            assert not thread.is_alive()

    def __str__(self) -> str:
        return "; ".join(
            f"{name}: {dict(counted)}, the longest {self.longest[name] * 1000:.0f} ms"
            for name, counted in self.counts.items()
        )

    @property
    def all_right(self) -> bool:
        """Whether each request had the correct reply."""
        return all(set(counted) == {"right"} for counted in self.counts.values())

    def _go_on(self, name: str, ask: Ask) -> None:
        while not self._over.wait(PAUSE):
            question = os.urandom(SIZE)
            began = time.monotonic()
            try:
                became = "right" if ask(question) == question else "wrong"
            except TimeoutError:
                became = "ETIMEDOUT"
            except OSError as error:
                became = errno.errorcode.get(error.errno or 0, str(error))
            self.counts[name][became] += 1
            self.longest[name] = max(self.longest[name], time.monotonic() - began)
