"""Tokens: how a datagram's sender shows that it is where it says, before anything unasked is sent there.

A token is a keyed hash of the sender's address and of the time (as QUIC's are, RFC 9000 8.1.3, and DTLS's cookies,
RFC 9147 5.1): nothing is remembered of who has not returned it, and nobody can make one for somebody else's address.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable
from typing import Final

PREFIX: Final = b"/token "  #: what a token stands behind: a person sees what it is, and types it back
LETTERS: Final = 12  #: of base32: 60 bits, guessed by nobody within the time and the rate that there are
LENGTH: Final = len(PREFIX) + LETTERS  #: octets
SLOT: Final = 30.0  #: seconds; a token is good for one to two of them: time to read it and to type it


class AddressCookies:
    """The tokens of one process: another, or the same started anew, has another secret."""

    def __init__(self, clock: Callable[[], float], secret: bytes | None = None) -> None:
        self._clock = clock
        self._secret = secret or secrets.token_bytes(32)

    def token(self, address: bytes) -> bytes:
        """The token of a sender, whom `address` tells from all others."""
        return self._made(address, self._slot())

    def right(self, address: bytes, returned: bytes) -> bool:
        """Whether a datagram returns a token of this sender; a line end behind it is no part of it."""
        returned = returned.rstrip()
        slot = self._slot()
        return any(hmac.compare_digest(self._made(address, one), returned) for one in (slot, slot - 1))

    def _slot(self) -> int:
        return int(self._clock() // SLOT)

    def _made(self, address: bytes, slot: int) -> bytes:
        digest = hmac.digest(self._secret, slot.to_bytes(8, "big", signed=True) + address, "sha256")
        return PREFIX + base64.b32encode(digest)[:LETTERS].lower()
