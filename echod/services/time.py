"""Time (RFC 868): the seconds since 1900 as four bytes."""

from __future__ import annotations

from typing import Final

from echod.model import Peer, Say, Service, Session
from echod.services.single_reply import Once

EPOCH: Final = 2_208_988_800  #: seconds from 1900-01-01 to 1970-01-01


def encoded(seconds: float) -> bytes:
    """The time as a 32-bit number, which wraps to 0 on 2036-02-07 06:28:16. `seconds` is a Unix time."""
    return ((int(seconds) + EPOCH) % 2**32).to_bytes(4, "big")


class Time(Service):
    """Sends four bytes and closes."""

    kind = "time"
    summary = "sends the time as four bytes (RFC 868)"

    def session(self, peer: Peer, say: Say) -> Session:
        return Once(encoded(self.context.wall_clock()), text=False)

    def answer(self, datagram: bytes, peer: Peer) -> bytes:
        return encoded(self.context.wall_clock())
