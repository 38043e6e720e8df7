"""Tokens of a public reflector: a sender returns one to prove that it receives what is sent to its address.

A source address can be forged. Without a token a reflector would send each packet of an attacker to a victim, at the
size that the attacker chooses. With tokens an unproven sender gets a short packet with a token, and its next packet the
whole reply. The reflector stores nothing: a token is a keyed hash of the address and the time (RFC 9000 8.1.3).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Final

SIZE: Final = 8  #: bytes: a guess succeeds once in 2^64 tries
SLOT: Final = 30.0  #: seconds; a token is valid for one to two of them


class ReflectorTokens:
    """Makes and verifies tokens. `clock` counts seconds and never steps back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)

    def token(self, address: bytes) -> bytes:
        """The token of a sender now."""
        return self._made(address, self._slot())

    def is_valid(self, address: bytes, token: bytes) -> bool:
        """Whether this sender was sent this token in the last 30 to 60 seconds."""
        slot = self._slot()
        return any(hmac.compare_digest(self._made(address, one), token) for one in (slot, slot - 1))

    def _slot(self) -> int:
        return int(self._clock() // SLOT)

    def _made(self, address: bytes, slot: int) -> bytes:
        return hmac.digest(self._secret, slot.to_bytes(8, "big", signed=True) + address, "sha256")[:SIZE]
