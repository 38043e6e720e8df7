"""The bytes that may be sent in reply to one datagram, so that replies do not amplify a forged request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

HEADERS: Final = 28  #: bytes of an IPv4 and a UDP header: each reply after the first brings headers of its own


class ReplyAllowance:
    """All replies together may have as many bytes as the request, and as many headers.

    `larger` is called only if that is not enough, and returns whether this peer may be sent more.
    """

    __slots__ = ("_larger", "_left", "_replied")

    def __init__(self, request_size: int, larger: Callable[[], bool]) -> None:
        self._left = request_size
        self._larger = larger
        self._replied = False

    def takes(self, size: int) -> bool:
        """Whether a reply of `size` bytes may be sent; if so it is counted."""
        cost = size + HEADERS if self._replied else size
        if cost > self._left and not self._larger():
            return False
        self._left -= cost
        self._replied = True
        return True
