"""The client side of TLS as a target: a server whose bytes are damaged, cut off, or not TLS at all."""

from __future__ import annotations

import atexit
import ssl
import tempfile
from contextlib import suppress
from functools import cache
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from echod.client.tls_events import Events
from echod.client.tls_settings import ClientTls
from echod.model import PLAIN, Arrival
from echod.socket_names import Inet
from echod.tls.server import ServerContexts
from echod.tls.verification import Expectations, client_context
from echod.transports.layers.layer_interface import Facts, HandshakeTimeout, ProtocolError
from tests.fuzz.draw import Draw
from tests.fuzz.target import HERE, Target, assert_plain
from tests.tls import V12, V13, authority, issued
from tests.wire import Wire

ROUNDS: Final = 6  #: flights of a handshake at most, and one of data
SENT: Final = b"hello"


class _Top:
    """Records what it receives."""

    def __init__(self) -> None:
        self.heard = b""
        self.begun = False

    def begin(self, below: Any) -> None:
        self.begun = True

    def received(self, data: bytes, _arrival: Arrival = PLAIN) -> None:
        self.heard += data

    def ended(self) -> None: ...

    def stuck(self) -> None: ...

    def drained(self) -> None: ...

    def lost(self, reason: Exception) -> None: ...


@cache
def _authority_file() -> str:
    file = tempfile.NamedTemporaryFile(prefix="echod-", suffix=".pem")  # noqa: SIM115 - it is needed until the exit
    atexit.register(file.close)
    file.write(authority().certificate_pem)
    file.flush()
    return file.name


@cache
def _serving(version: ssl.TLSVersion, asks: bool) -> ssl.SSLContext:
    pem = authority().certificate_pem.decode() if asks else ""
    context = ServerContexts([issued("localhost")], authorities=pem, required=asks).default
    context.maximum_version = version
    return context


@cache
def _asking(host: str, verified: bool) -> tuple[Expectations, list[str], Events, ssl.SSLContext]:
    expected = Expectations(host, _authority_file() if verified else "", verified=verified)
    lines: list[str] = []
    events = Events(expected, lines.append)
    return expected, lines, events, client_context(expected, events.tell)


class _Server:
    """A server of the standard library that sends SENT after the handshake, and then ends."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self.incoming, self._outgoing, server_side=True)
        self._open = True

    def flight(self) -> bytes:
        """The next bytes to send."""
        with suppress(ssl.SSLError):
            if self._open:
                self._tls.do_handshake()
                self._open = False
                self._tls.write(SENT)
                self._tls.unwrap()
        return self._outgoing.read()


def _connection(data: bytes) -> bool:
    draw = Draw(data)
    how, damage, at = draw.byte(), draw.byte() % 5, draw.below(4096)
    other = draw.rest() or b"\x00"
    host, verified = "localhost" if how & 1 else "other.example", bool(how & 2)
    expected, lines, events, context = _asking(host, verified)
    lines.clear()
    clock, top = Clock(), _Top()
    wire = Wire(Facts(HERE, Inet("127.0.0.1", 40_000)))
    layer = ClientTls(lambda: top, clock, context, host, expected, events)
    wire.receiver = layer
    layer.begin(wire)
    server, sent = _Server(_serving(V12 if how & 4 else V13, bool(how & 8))), 0
    for _ in range(ROUNDS):
        server.incoming.write(wire.sent)
        wire.sent = b""
        flight = bytearray(server.flight())
        here = at - sent
        sent += len(flight)
        if 0 <= here < len(flight):
            if damage == 1:
                flight[here] ^= other[0] or 1
            elif damage == 2:
                flight[here:here] = other
            elif damage == 3:
                flight = flight[:here]
        if damage == 4:
            flight = bytearray(other)
        middle = at % (len(flight) + 1)
        for part in (bytes(flight[:middle]), bytes(flight[middle:])):
            if part and not wire.ended:
                layer.received(part)
        if damage in (3, 4) and sent > at:
            break
    if not wire.ended:
        layer.ended()
    assert SENT.startswith(top.heard)
    assert top.begun or not top.heard
    assert not (top.begun and verified) or host == "localhost"
    for line in lines:
        assert_plain(line)
    if (error := wire.facts.error) is not None:
        assert isinstance(error, ProtocolError | HandshakeTimeout)
        assert_plain(str(error))
    layer.lost(ConnectionDone())
    assert not clock.getDelayedCalls()
    return top.heard == SENT


_TOKENS: Final = (
    *(b"\x03\x00\x00\x00", b"\x03\x01\x00\x40\xff", b"\x07\x01\x00\x80\x01", b"\x0b\x02\x01\x00", b"\x02\x03\x00\x99"),
    *(b"\x15\x03\x03\x00\x02\x02\x28", b"\x15\x03\x03\x00\x02\x01\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    *(b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00", b"\x16\x03\x03\xff\xff", b"SSH-2.0-x\r\n", b"\x14\x03\x03\x00\x01\x01"),
)

TARGETS: Final = (
    Target("TLS servers", "one plain line, and no data that the server did not send", lambda: _connection, _TOKENS),
)
