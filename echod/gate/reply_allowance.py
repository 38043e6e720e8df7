"""The reply that may be sent to one datagram, so that replies do not amplify a forged request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

NO_REPLY: Final = -1  #: bytes: less than an empty datagram has


class ReplyAllowance:
    """One reply, with at most as many bytes as the request.

    Each datagram that leaves has headers of its own, so several replies would amplify even if their data does not.
    `larger` is called only for a reply beyond that, and returns whether this peer may be sent more.
    """

    __slots__ = ("_larger", "_left")

    def __init__(self, request_size: int, larger: Callable[[], bool]) -> None:
        self._left = request_size
        self._larger = larger

    def takes(self, size: int) -> bool:
        """Whether a reply of `size` bytes may be sent; if so it is counted."""
        if size > self._left and not self._larger():
            return False
        self._left = NO_REPLY
        return True
