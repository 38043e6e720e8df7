"""Retry sockets that the kernel reports as writable although it accepts no data, after a pause.

Linux reports a socket as writable if its own buffer has room. It still refuses data while all sockets together are
above `tcp_mem` (tcp(7)), or while a device has no room (ENOBUFS). It does not report when that ends. A poll for writing
would return immediately, again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import islice
from typing import Any, Final

PAUSE: Final = 0.1  #: seconds between two rounds of retries
A_TURN: Final = 64  #: sockets that are retried in one round, at least
TURNS: Final = 10  #: rounds within which each socket is retried, for any number of sockets


class WriteRetry:
    """The sockets to retry: a callable for each, by a key of the socket.

    `reactor` has callLater, in seconds.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._wake: dict[Hashable, Callable[[], object]] = {}
        self._waits = False

    def __len__(self) -> int:
        return len(self._wake)

    def add(self, key: Hashable, wake: Callable[[], object]) -> None:
        """Call `wake` once after a pause; it replaces an earlier one of this key."""
        self._wake[key] = wake
        self._wait()

    def forget(self, key: Hashable) -> None:
        """Do not call for `key`: the socket is closed."""
        self._wake.pop(key, None)

    def _wait(self) -> None:
        if self._wake and not self._waits:
            self._waits = True
            self._reactor.callLater(PAUSE, self._turn)

    def _turn(self) -> None:
        self._waits = False
        for key in list(islice(self._wake, max(A_TURN, len(self._wake) // TURNS))):
            self._wake.pop(key)()
        self._wait()
