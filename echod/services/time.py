"""Time (RFC 868): the seconds since 1900, in four bytes."""

from __future__ import annotations

from typing import Final

from echod.model import Peer, Say, Service, Session
from echod.services.once import Once

EPOCH: Final = 2_208_988_800  #: seconds from 1900-01-01 to 1970-01-01


def octets(seconds: float) -> bytes:
    """The time as a 32-bit number, which begins again at 0 on 2036-02-07 06:28:16. `seconds` are since 1970."""
    return ((int(seconds) + EPOCH) % 2**32).to_bytes(4, "big")


class Time(Service):
    """Four bytes, and the close."""

    kind = "time"
    summary = "says the time in four bytes (RFC 868)"

    def session(self, peer: Peer, say: Say) -> Session:
        return Once(octets(self.context.wall_clock()))

    def answer(self, datagram: bytes, peer: Peer) -> bytes:
        return octets(self.context.wall_clock())
