"""Discard (RFC 863): reads everything and never answers; on request it shows what came, the printing sink."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from echod.model import NOTHING, Context, Peer, Quiet, Reply, Say, Service, Session
from echod.services.showing import Show, effective, show


@dataclass(frozen=True)
class DiscardOptions:
    """The keys of a discard service."""

    show: Show | None = field(
        default=None,
        metadata={"help": "print each message with its peer: text, hex or no; default text on a terminal, else no"},
    )


class Discard(Service):
    """Streams close when the peer has finished; datagrams get no answer and no ICMP error."""

    kind = "discard"
    summary = "reads everything and answers nothing; can show what came (RFC 863)"
    Options = DiscardOptions

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.show = effective(self.options.show, self.context)

    def session(self, peer: Peer, say: Say) -> Session:
        return Quiet() if self.show == "no" else Showing(self, peer)

    def answer(self, datagram: bytes, peer: Peer) -> None:
        show(datagram, peer, self.show, self.context)


class Showing(Quiet):
    """A stream's session that shows each piece as it comes."""

    def __init__(self, service: Discard, peer: Peer) -> None:
        self.service = service
        self.peer = peer

    def received(self, data: bytes) -> Reply:
        show(data, self.peer, self.service.show, self.service.context)
        return NOTHING
