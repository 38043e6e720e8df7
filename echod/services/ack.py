"""Ack: prints each message and replies `received`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from echod.model import NOTHING, PLAIN, Arrival, Context, End, Peer, Quiet, Reply, Say, Service, Session
from echod.services.print_message import Show, effective, show

RECEIPT: Final = b"received"


@dataclass(frozen=True)
class AckOptions:
    """The keys of an ack service."""

    close: bool = field(
        default=True, metadata={"help": "reply to the first data and close; false replies to every read"}
    )
    show: Show | None = field(
        default=None,
        metadata={"help": "print each message with its peer: text, hex or no; default text on a terminal, else no"},
    )


class Ack(Service):
    """A stream gets one receipt and is closed, or one receipt for every read; each datagram gets one."""

    kind = "ack"
    summary = "prints the message, replies `received` and closes"
    Options = AckOptions

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.show = effective(self.options.show, self.context)

    def session(self, peer: Peer, say: Say) -> Session:
        return Acknowledging(self, peer)

    def answer(self, datagram: bytes, peer: Peer) -> bytes:
        show(datagram, peer, self.show, self.context)
        return RECEIPT


class Acknowledging(Quiet):
    """A session of a stream. After the close, further data is dropped."""

    def __init__(self, service: Ack, peer: Peer) -> None:
        self.service = service
        self.peer = peer
        self.closing = False

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        if self.closing:
            return NOTHING
        self.closing = self.service.options.close
        show(data, self.peer, self.service.show, self.service.context)
        return Reply(RECEIPT, end=End.CLOSE if self.closing else End.NOTHING)
