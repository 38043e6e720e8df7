"""WebSocket: the request of a client, and its frames."""

from __future__ import annotations

import struct
from typing import Any, Final

from twisted.internet.task import Clock
from websockets.client import ClientProtocol
from websockets.frames import Close, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from echod.gate.work_budget import WorkBudget
from echod.model import PLAIN, Arrival
from echod.socket_names import Inet
from echod.transports.layers.http_answer import Resource
from echod.transports.layers.layer_interface import Facts
from echod.transports.layers.websocket_server import WebSocketServer
from tests.fuzz.draw import Draw
from tests.fuzz.target import Target, assert_plain
from tests.wire import Wire

LIMIT: Final = 1_000  #: bytes of a message
REQUEST: Final = (
    b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
COMPRESSED: Final = REQUEST.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
ERRORS: Final = frozenset({1002, 1007, 1009})
RESOURCES: Final = {"/echo": Resource("/echo", message=LIMIT, compression=True, subprotocols=("a", "b"))}


class Received:
    """The receiver above: records messages, and answers each with itself."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bool | None]] = []
        self.ends = 0
        self.below: Any = None

    def begin(self, below: Any) -> None:
        self.below = below

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        assert not self.ends, "a message after the end"
        assert len(data) <= LIMIT, "a message above the limit"
        if arrival.text:
            data.decode()
        self.messages.append((data, arrival.text))
        self.below.write(data, arrival.text)

    def ended(self) -> None:
        self.ends += 1
        assert self.ends == 1
        self.below.close()

    def stuck(self) -> None: ...

    def drained(self) -> None: ...

    def lost(self, reason: Exception) -> None: ...


def _served(pieces: list[bytes]) -> tuple[Received, Wire]:
    """Pass these pieces to a server's layer; return its receiver and its output."""
    received, clock = Received(), Clock()
    wire = Wire(Facts(Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000)))
    later: list[Any] = []
    work = WorkBudget(lambda _seconds, call: later.append(call))
    layer = WebSocketServer(lambda: received, clock, 10.0, RESOURCES, work)
    wire.receiver = layer
    layer.begin(wire)
    for piece in pieces:
        if wire.ended:
            break
        layer.received(piece)
        while later:
            later.pop(0)()
    if not wire.ended:
        layer.ended()
    layer.lost(Exception())
    assert not clock.getDelayedCalls(), "a timer is left"
    return received, wire


def _attempt(data: bytes) -> bool:
    draw = Draw(data)
    begin = draw.choice((b"", REQUEST, COMPRESSED))
    cuts = [draw.byte() + 1 for _ in range(draw.below(4))]
    stream = begin + draw.rest()
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    pieces.append(stream[at:])
    received, wire = _served([piece for piece in pieces if piece])
    whole, other = _served([stream] if stream else [])
    assert received.messages == whole.messages, "the pieces of the input change the messages"
    head, _, frames = wire.sent.partition(b"\r\n\r\n")
    if wire.facts.error is not None:
        assert_plain(str(wire.facts.error))
    if not head.startswith(b"HTTP/1.1 101 "):
        assert not received.messages
        return False
    if b"deflate" not in head:
        _check_sent(frames, received)
        assert frames == other.sent.partition(b"\r\n\r\n")[2], "the pieces of the input change the output"
    return True


def _check_sent(frames: bytes, received: Received) -> None:
    """Check that a client understands all that was sent: the replies, pongs, and at most one Close, at the end."""
    client = ClientProtocol(parse_uri("ws://a/"), state=State.OPEN, max_size=None)
    client.receive_data(frames)
    assert client.parser_exc is None
    events: list[Any] = client.events_received()
    data = [
        (bytes(one.data), one.opcode is Opcode.TEXT) for one in events if one.opcode in (Opcode.TEXT, Opcode.BINARY)
    ]
    assert data == received.messages
    closes = [one for one in events if one.opcode is Opcode.CLOSE]
    assert closes in ([], events[-1:])
    if closes and not received.ends:
        [code] = struct.unpack("!H", closes[0].data[:2])
        assert code in ERRORS
        Close.parse(closes[0].data)


TARGETS: Final[tuple[Target, ...]] = (
    Target(
        "WebSocket",
        "an answer in HTTP, or whole messages within the limit and frames that a client understands",
        lambda: _attempt,
        (
            *(
                b"GET /echo HTTP/1.1\r\n",
                b"Host: a\r\n",
                b"Origin: http://a\r\n",
                b"Upgrade: websocket\r\n",
                b"\r\n\r\n",
            ),
            *(b"Sec-WebSocket-Version: 13\r\n", b"Sec-WebSocket-Protocol: b, a\r\n", b"Content-Length: 5\r\n"),
            *(
                b"\x81\x82\0\0\0\0hi",
                b"\x01\x81\0\0\0\0a",
                b"\x80\x80\0\0\0\0",
                b"\x82\x80\0\0\0\0",
                b"\x89\x80\0\0\0\0",
            ),
            *(b"\x88\x82\0\0\0\0\x03\xe8", b"\xc1\x85\0\0\0\0\xca\x48\xcd\xc9\xc9", b"\x82\xff" + b"\x40" + bytes(7)),
            *(b"\x82\xfe\x04\x00mask", b"\x81\x81\0\0\0\0\xff", b"\x8a\x80\0\0\0\0"),
        ),
    ),
)
