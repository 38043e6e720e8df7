"""Prints the messages of clients: one escaped line for each message, of bounded length.

`printing` wraps the service of any kind. The wrapper has no `transform`, so its listeners do not use the fast path.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Callable
from typing import Final

from echod.escaping import decoded, escaped
from echod.model import PLAIN, Arrival, Context, Peer, Reply, Say, Service, Session, Show

SHOWN: Final = 1024
"""Maximum bytes of a message that are printed; the rest is only counted. A datagram has up to 65,507 bytes."""


def effective(how: Show | None, kind: type[Service], *, terminal: bool) -> Show:
    """The effective value of `show`. By default (None) kinds with `shown_on_terminal` print on a terminal.

    In a log the lines would be stored, and clients could make it grow at any rate.
    """
    return how or ("text" if kind.shown_on_terminal and terminal else "no")


def printing(service: Service, how: Show) -> Service:
    """A service that replies as `service` does and prints what its clients send; `service` itself if `how` is no."""
    return service if how == "no" else PrintingService(service, how)


class PrintingService(Service):
    """Prints each message, then passes it to another service. Only transports call it."""

    def __init__(self, service: Service, how: Show) -> None:
        super().__init__(service.options, service.context)
        self.kind = service.kind  # type: ignore[misc]  # of this wrapper only
        self.conversational = service.conversational  # type: ignore[misc]  # the same
        self._service = service
        self._how: Show = how

    def session(self, peer: Peer, say: Say) -> Session:
        return PrintingSession(self._service.session(peer, say), peer, self._how, self.context)

    def datagram(self, request: bytes, peer: Peer, arrival: Arrival, reply: Callable[[bytes], object]) -> None:
        show(request, peer, self._how, self.context)
        self._service.datagram(request, peer, arrival, reply)

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        show(datagram, peer, self._how, self.context)
        return self._service.answer(datagram, peer)


class PrintingSession:
    """Prints one line for each piece of a stream or whole message; if there was none, one at the end."""

    __slots__ = ("_context", "_how", "_peer", "_received", "_session", "ended", "opened", "proceed")

    def __init__(self, session: Session, peer: Peer, how: Show, context: Context) -> None:
        self._session, self._peer, self._how, self._context = session, peer, how, context
        self._received = False
        self.opened, self.proceed, self.ended = session.opened, session.proceed, session.ended

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        self._received = True
        show(data, self._peer, self._how, self._context)
        return self._session.received(data, arrival)

    def lost(self) -> None:
        if not self._received:
            self._context.show(f"{self._peer.scheme} {self._peer.remote} disconnected" if self._context.shows() else "")
        self._session.lost()


def show(data: bytes, peer: Peer, how: Show, context: Context) -> None:
    """Print one message and its peer as output of the service.

    If lines are dropped at the moment, the line is empty: escaping 1,024 bytes costs as much as ten replies.
    """
    if how != "no":
        context.show(f"{peer.scheme} {peer.remote}: {line(data, how)}" if context.shows() else "")


def line(data: bytes, how: Show) -> str:
    """A message as one line: as `hex`, or as `text` without its final line end."""
    part = data[:SHOWN]
    if how == "hex":
        shown = part.hex(" ")
    elif len(part) == len(data):
        shown = decoded(re.sub(rb"\r?\n\Z", b"", part))
    else:  # an incomplete last character is left out
        shown = escaped(getincrementaldecoder("utf-8")("surrogateescape").decode(part))
    return shown if len(part) == len(data) else f"{shown}… ({len(data)} bytes)"
