"""Ack: replies `received` to each message. On a terminal the daemon prints the messages by default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from echod.model import NOTHING, PLAIN, Arrival, End, Peer, Quiet, Reply, Say, Service, Session

RECEIPT: Final = b"received"


@dataclass(frozen=True)
class AckOptions:
    """The keys of an ack service."""

    close: bool = field(
        default=True, metadata={"help": "reply to the first data and close; false replies to every read"}
    )


class Ack(Service):
    """A stream gets one receipt and is closed, or one receipt for every read; each datagram gets one."""

    kind = "ack"
    summary = "prints the message, replies `received` and closes"
    Options = AckOptions
    shown_on_terminal = True

    def session(self, peer: Peer, say: Say) -> Session:
        return Acknowledging(self)

    def answer(self, datagram: bytes, peer: Peer) -> bytes:
        return RECEIPT


class Acknowledging(Quiet):
    """A session of a stream. After the close, further data is dropped."""

    def __init__(self, service: Ack) -> None:
        self.service = service
        self.closing = False

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        if self.closing:
            return NOTHING
        self.closing = self.service.options.close
        return Reply(RECEIPT, end=End.CLOSE if self.closing else End.NOTHING)
