"""Bin: the client chooses how the service fails, in its first line, message or datagram, or in a query or a name.

    printf 'delay=200ms,reset-after=1KiB\\nhello' | nc 127.0.0.1 10015

After the request everything is sent back, with the chosen faults. `bin_request` has the grammar, and `bin_http` the
replies over HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from echod.faults.settings import Faults
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, End, Peer, Quiet, Reply, Say, Service, Session
from echod.services import bin_request
from echod.services.bin_pattern import pattern
from echod.services.bin_request import CHOICES, LONGEST, Bounds, Request, RequestError
from echod.shape import Shape


@dataclass(frozen=True)
class BinOptions:
    """The keys of a bin service."""

    allow_faults: tuple[str, ...] | None = field(
        default=None,
        metadata={
            "help": "the faults that a client can choose; default: all except those that concern other connections"
        },
    )
    max_delay: float = field(
        default=30.0, metadata={"unit": "seconds", "help": "the largest delay, jitter and delay-close of a request"}
    )
    max_size: int = field(default=1 << 20, metadata={"unit": "bytes", "help": "the largest size and body of a request"})


class Bin(Service):
    """Sends everything back, with the faults that the client has chosen for its connection or its datagram."""

    kind = "bin"
    summary = "lets the client choose how the service fails"
    Options = BinOptions
    chooses_faults = True
    requests = True

    @classmethod
    def configuration_errors(cls, options: BinOptions) -> Iterable[tuple[str, str]]:
        for name in options.allow_faults or ():
            if name not in CHOICES:
                yield (
                    "allow_faults",
                    f"{name} is not a fault that a client can choose; expected one of: {', '.join(CHOICES)}",
                )

    @property
    def bounds(self) -> Bounds:
        """The limits of requests."""
        options = self.options
        allowed = CHOICES if options.allow_faults is None else options.allow_faults
        return Bounds(frozenset(allowed), options.max_delay, options.max_size)

    def session(self, peer: Peer, say: Say) -> Session:
        if peer.shape is Shape.REQUEST:
            from echod.services.bin_http import http_session  # h11, which most daemons do not need

            return http_session(peer, say, self.context, self.bounds)
        return Choosing(peer, self.bounds)

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        if not datagram:
            return None
        line, _, payload = datagram.partition(b"\n")
        try:
            chosen = bin_request.of_text(_text(line), self.bounds)
            bin_request.check_shape(chosen, peer.shape)
        except RequestError as error:
            return _error(error)[: len(datagram)]
        _choose(peer, chosen.faults)
        return payload or datagram if chosen.size is None else b"".join(pattern(chosen.size))

    def chosen_faults(self, layer: str, text: str) -> Faults | None:
        try:
            chosen = _READERS[layer](text, self.bounds)
        except RequestError:  # the session reports it
            return None
        return None if chosen is None else chosen.faults


_READERS: Final[Mapping[str, Callable[[str, Bounds], Request | None]]] = {
    "websocket": bin_request.of_query,
    "tls": bin_request.of_label,
}
"""Reads the request in the handshake of a layer."""
_FACTS: Final = {"websocket": "query", "tls": "server_name"}  # the fact of each layer that may have a request


class Choosing(Quiet):
    """The session of one connection. Without a request in its WebSocket query or TLS name, its first line is one."""

    def __init__(self, peer: Peer, bounds: Bounds) -> None:
        self._peer, self._bounds = peer, bounds
        self._line: bytes | None = b""  # the begin of the first line; None after the request

    def opened(self) -> Reply:
        try:
            chosen = of_layers(self._peer.learned, self._bounds)
            if chosen is not None:
                bin_request.check_shape(chosen, self._peer.shape)
        except RequestError as error:
            return Reply(_error(error), end=End.CLOSE, text=True)
        return NOTHING if chosen is None else self._begin(chosen)

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        if self._line is None:
            return Reply(data)
        if self._peer.keeps_messages:
            return self._request(data, b"")
        line, end, rest = (self._line + data).partition(b"\n")
        if end or len(line) > LONGEST:
            return self._request(line, rest)
        self._line = line
        return NOTHING

    def ended(self) -> Reply:
        if not self._line:
            return CLOSE
        reply = self._request(self._line, b"")
        return reply if reply.end is End.CLOSE else Reply(reply.data, more=reply.more, end=End.CLOSE)

    def _request(self, line: bytes, rest: bytes) -> Reply:
        """Use a request, and send back the rest."""
        try:
            chosen = bin_request.of_text(_text(line), self._bounds)
            bin_request.check_shape(chosen, self._peer.shape)
        except RequestError as error:
            self._line = None
            return Reply(_error(error), end=End.CLOSE, text=True)
        return self._begin(chosen, rest)

    def _begin(self, chosen: Request, rest: bytes = b"") -> Reply:
        self._line = None
        _choose(self._peer, chosen.faults)
        if chosen.size is None:
            return Reply(rest) if rest else NOTHING
        if self._peer.keeps_messages:
            return Reply(b"".join(pattern(chosen.size)))
        return Reply(more=(piece for part in (pattern(chosen.size), (rest,)) for piece in part if piece))


def of_layers(learned: Mapping[str, object], bounds: Bounds) -> Request | None:
    """The request that the layers below know: in the query of a WebSocket, or in the name that TLS asked for."""
    for layer, fact in _FACTS.items():
        facts = learned.get(layer)
        text = facts.get(fact) if isinstance(facts, Mapping) else None
        if isinstance(text, str) and text and (found := _READERS[layer](text, bounds)) is not None:
            return found
    return None


def _choose(peer: Peer, faults: Faults) -> None:
    if peer.choose_faults is not None:
        peer.choose_faults(faults)


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "backslashreplace")


def _error(error: RequestError) -> bytes:
    return f"error: {error}\n".encode()
