"""Discard (RFC 863): reads everything and never replies. On a terminal the daemon prints the messages by default."""

from __future__ import annotations

from echod.model import Peer, Quiet, Say, Service, Session


class Discard(Service):
    """A stream is closed when the peer has half-closed; datagrams get no reply and no ICMP error."""

    kind = "discard"
    summary = "reads everything and replies nothing; can print messages (RFC 863)"
    shown_on_terminal = True

    def session(self, peer: Peer, say: Say) -> Session:
        return Quiet()

    def answer(self, datagram: bytes, peer: Peer) -> None:
        pass
