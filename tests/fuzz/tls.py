"""The server side of TLS as a target: bytes before, within and after a handshake, and damaged records."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from echod.gate.handshakes import Handshakes
from echod.model import PLAIN, Arrival
from echod.socket_names import Inet
from echod.transports.layers.layer_interface import Facts, HandshakeTimeout, ProtocolError
from echod.transports.layers.tls import TlsLayer
from tests.fuzz.draw import Draw
from tests.fuzz.target import HERE, Target, assert_plain
from tests.tls import V12, V13, client_context, server_contexts
from tests.wire import Wire

SECONDS: Final = 10.0
ROUNDS: Final = 4  #: flights of a handshake at most
_HANDSHAKES: Final = Handshakes()


class _Echo:
    """Returns every byte, and may pause."""

    def __init__(self) -> None:
        self.heard = b""
        self.begun = self.over = self.paused = False
        self.below: Any = None

    def begin(self, below: Any) -> None:
        self.below, self.begun = below, True

    def received(self, data: bytes, _arrival: Arrival = PLAIN) -> None:
        assert not self.paused, "data after a pause"
        assert not self.over, "data after the end"
        self.heard += data
        self.below.write(data)

    def turn(self) -> None:
        """Pause, or resume."""
        self.paused = not self.paused
        if self.paused:
            self.below.pause()
        else:
            self.below.resume()

    def ended(self) -> None:
        assert not self.over, "two ends"
        self.over = True
        self.below.close()

    def stuck(self) -> None: ...

    def drained(self) -> None: ...

    def lost(self, reason: Exception) -> None: ...


class _Client:
    """A client of the standard library, beside the layer."""

    def __init__(self, wire: Wire, version: ssl.TLSVersion) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context(version).wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        for _ in range(ROUNDS):
            with suppress(ssl.SSLError):
                self.tls.do_handshake()
            if self.outgoing.pending:
                wire.receiver.received(self.outgoing.read())
            self.incoming.write(wire.sent)
            wire.sent = b""

    def said(self, data: bytes) -> bytes:
        """The record with this data."""
        if data:
            self.tls.write(data)
        return self.outgoing.read()


def _connection(data: bytes) -> bool:
    draw, clock, top = Draw(data), Clock(), _Echo()
    wire = Wire(Facts(HERE, Inet("127.0.0.1", 40_000)))
    wire.receiver = layer = TlsLayer(lambda: top, clock, SECONDS, server_contexts().default, handshakes=_HANDSHAKES)
    layer.begin(wire)
    sent, whole = b"", True
    how = draw.byte() % 8
    client = _Client(wire, V12 if how else V13) if how < 2 else None
    assert (client is None) is not top.begun
    while draw and not wire.ended:
        what, piece = draw.byte() % 8, draw.piece()
        if what == 0 and top.begun:
            top.turn()
        elif what == 1:
            clock.advance(len(piece) / 50)
        elif what == 2:
            layer.ended()
        elif client is None or what == 3:
            whole = False
            layer.received(piece or b"\x16\x03\x01\x00\x10\x01")
        else:
            record = bytearray(client.said(piece))
            sent += piece
            if what == 4 and record:  # OpenSSL detects every change
                record[len(piece) % len(record)] ^= 1 + len(piece) % 255
                whole = False
            middle = len(piece) % (len(record) + 1)
            for part in (bytes(record[:middle]), bytes(record[middle:])):
                if part and not wire.ended:
                    layer.received(part)
    if top.paused and not wire.ended:
        top.turn()
    assert sent.startswith(top.heard)
    if whole and wire.ended != "closed" and client is not None:
        assert top.heard == sent
    assert 0 <= layer.unsent <= len(wire.sent)
    if (error := wire.facts.error) is not None:
        assert isinstance(error, ProtocolError | HandshakeTimeout)
        assert wire.ended
        assert_plain(str(error))
    layer.lost(ConnectionDone())
    assert len(_HANDSHAKES) == 0
    assert not clock.getDelayedCalls()
    return bool(top.heard)


_HELLO: Final = b"\x16\x03\x01\x00\x2e\x01\x00\x00\x2a\x03\x03" + bytes(32) + b"\x00\x00\x02\x13\x01\x01\x00"
_TOKENS: Final = (
    *(
        _HELLO,
        b"\x16\x03\x01",
        b"\x16\x03\x03\xff\xff\x01",
        b"\x14\x03\x03\x00\x01\x01",
        b"\x15\x03\x03\x00\x02\x01\x00",
    ),
    *(b"\x17\x03\x03\x00\x20" + bytes(32), b"\x17\x03\x03\x40\x11", b"\x80\x2e\x01\x03\x01", b"GET / HTTP/1.1\r\n\r\n"),
    *(b"\x00\x05hello", b"\x01\x05hello", b"\x05\x20", b"\x06\xff", b"\x02\x00", b"\x04\x03abc"),
)

TARGETS: Final = (
    Target("TLS", "no bytes raise, lose data, or pass data that the client did not send", lambda: _connection, _TOKENS),
)
