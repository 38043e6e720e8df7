"""Sockets that are writable although the kernel takes nothing: they are tried again after a pause.

Linux reports a socket as writable by the room in its own buffer, and refuses what is sent while all sockets together
are above `tcp_mem` (tcp(7)), or while a device has no room (ENOBUFS). It does not report when that is over. A poll for
writing would return at once, again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import islice
from typing import Any, Final

PAUSE: Final = 0.1  #: seconds between two rounds of tries
A_TURN: Final = 64  #: sockets that are tried in one round
TURNS: Final = 10  #: rounds within which each socket is tried, however many there are


class WriteRetry:
    """The sockets to be tried again, by a key of each, and what to call for it.

    `reactor` has callLater, in seconds.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._wake: dict[Hashable, Callable[[], object]] = {}
        self._waits = False

    def __len__(self) -> int:
        return len(self._wake)

    def add(self, key: Hashable, wake: Callable[[], object]) -> None:
        """Call `wake` after a pause."""
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
