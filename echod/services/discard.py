"""Discard (RFC 863): reads everything and never replies. With `show` it prints each message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from echod.model import NOTHING, PLAIN, Arrival, Context, Peer, Quiet, Reply, Say, Service, Session
from echod.services.print_message import Show, effective, show


@dataclass(frozen=True)
class DiscardOptions:
    """The keys of a discard service."""

    show: Show | None = field(
        default=None,
        metadata={"help": "print each message with its peer: text, hex or no; default text on a terminal, else no"},
    )


class Discard(Service):
    """A stream is closed when the peer has half-closed; datagrams get no reply and no ICMP error."""

    kind = "discard"
    summary = "reads everything and replies nothing; can print messages (RFC 863)"
    Options = DiscardOptions

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.show = effective(self.options.show, self.context)

    def session(self, peer: Peer, say: Say) -> Session:
        return Quiet() if self.show == "no" else Showing(self, peer)

    def answer(self, datagram: bytes, peer: Peer) -> None:
        show(datagram, peer, self.show, self.context)


class Showing(Quiet):
    """A session of a stream that prints each piece of data."""

    def __init__(self, service: Discard, peer: Peer) -> None:
        self.service = service
        self.peer = peer

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        show(data, self.peer, self.service.show, self.service.context)
        return NOTHING
