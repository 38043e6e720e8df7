"""Bounds the handshakes that are unfinished at once, because each holds tens of kilobytes of the cryptography library.

If there are too many, the oldest is ended. A client on a good path needs less than a second, an attacker's connections
stay until their deadline: so the oldest is most likely one of those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MOST: Final = 1000
"""Unfinished handshakes of a daemon: 50 MB, and as many as arrive in a second on two cores."""

Evict = Callable[[], None]


class Handshakes:
    """The unfinished handshakes of a daemon, the oldest first. Each is identified by the function that ends it."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._unfinished: dict[Evict, None] = {}

    def __len__(self) -> int:
        return len(self._unfinished)

    def in_all(self) -> int:
        """The unfinished handshakes of all processes."""
        return len(self)

    def begin(self, evict: Evict) -> None:
        """Count a handshake. Above the bound, the oldest one of this process is ended by a call of its `evict`."""
        if self._unfinished and self.in_all() >= self._most:
            oldest = next(iter(self._unfinished))
            del self._unfinished[oldest]
            oldest()
        self._unfinished[evict] = None

    def end(self, evict: Evict) -> None:
        """Stop counting a handshake, if it is counted."""
        self._unfinished.pop(evict, None)
