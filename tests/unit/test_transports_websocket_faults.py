"""WebSocket that misbehaves on purpose: what a client of the library `websockets` gets for each word."""

from __future__ import annotations

import struct

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from echod.socket_names import Inet
from echod.transports.layers.http_answer import Resource
from echod.transports.layers.layer_interface import Facts
from echod.transports.layers.websocket_faults import AT_ONCE, FRAGMENT, PAUSE, PINGS, RESERVED_CODE, FaultyWebSocket
from tests.unit.test_transports_websocket import Above
from tests.wire import Wire

MESSAGE = 100_000


class Exchange:
    """A client of `websockets`, and a layer with one fault at /echo."""

    def __init__(self, word, room=None):
        self.clock = Clock()
        self.wire = Wire(Facts(Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000)), room)
        self.word, self.asked = word, []
        resources = {"/echo": Resource("/echo", message=MESSAGE, choose_fault=self.choose)}
        self.layer = FaultyWebSocket(Above, self.clock, 10.0, resources)
        self.wire.receiver = self.layer
        self.client = ClientProtocol(parse_uri("ws://127.0.0.1:7/echo?fault"), max_size=None)
        self.delivered, self.frames = 0, []
        self.layer.begin(self.wire)
        self.client.send_request(self.client.connect())
        self.carry()

    def choose(self, facts, query):
        self.asked.append((facts, query))
        return self.word

    @property
    def above(self):
        return self.layer.receiver

    def carry(self):
        """Deliver everything in both directions; turns of the event loop pass until nothing moves."""
        while True:
            sent = b"".join(self.client.data_to_send())
            came = self.wire.sent[self.delivered :]
            self.delivered += len(came)
            if sent:
                self.layer.received(sent)
            if came:
                self.client.receive_data(came)
            self.frames += [one for one in self.client.events_received() if isinstance(one, Frame)]
            if not sent and not came:
                if not self.clock.getDelayedCalls() or self.clock.getDelayedCalls()[0].getTime() > self.clock.seconds():
                    return self
                self.clock.advance(0)

    def opcodes(self):
        return [frame.opcode for frame in self.frames]


def test_without_a_fault_it_is_websocket():
    exchange = Exchange(None)
    exchange.layer.write(b"hello", True)
    exchange.carry()
    assert (exchange.client.state, [frame.data for frame in exchange.frames]) == (State.OPEN, [b"hello"])
    assert exchange.asked == [(exchange.wire.facts, "fault")]


def test_the_key_of_the_handshake_is_wrong():
    exchange = Exchange("bad-accept")
    assert "Sec-WebSocket-Accept" in str(exchange.client.handshake_exc)


def test_the_code_of_a_close_is_reserved():
    exchange = Exchange("bad-close-code")
    exchange.layer.close()
    exchange.carry()
    assert exchange.wire.sent.endswith(b"\x88\x02" + struct.pack("!H", RESERVED_CODE))
    assert "invalid status code" in str(exchange.client.parser_exc)


def test_frames_of_the_server_are_masked():
    exchange = Exchange("masked")
    exchange.layer.write(b"hello", True)
    exchange.carry()
    assert "incorrect masking" in str(exchange.client.parser_exc)


def test_text_is_not_utf8():
    exchange = Exchange("invalid-utf8")
    exchange.layer.write(b"hello", True)
    exchange.carry()
    assert [(frame.opcode, frame.data) for frame in exchange.frames] == [(Opcode.TEXT, b"hello\xff")]


def test_a_ping_is_not_answered_and_messages_are():
    exchange = Exchange("no-pong")
    exchange.client.send_ping(b"1")
    exchange.client.send_text(b"hello")
    exchange.carry()
    assert exchange.frames == []
    assert exchange.above.told == [(b"hello", True)]


def test_a_flood_of_pings_is_answered_and_ends():
    exchange = Exchange("ping-flood")
    assert exchange.opcodes() == [Opcode.PING] * PINGS
    assert exchange.client.state is State.OPEN
    exchange.layer.write(b"hello", True)
    exchange.carry()
    assert exchange.frames[-1].data == b"hello"


def test_fragments_have_no_last_one_and_end_at_the_limit():
    exchange = Exchange("endless-fragments")
    exchange.layer.write(b"hello", True)
    exchange.layer.write(b"ignored", True)
    exchange.carry()
    fragments = exchange.frames
    assert [frame.opcode for frame in fragments[:3]] == [Opcode.TEXT, Opcode.CONT, Opcode.CONT]
    assert not any(frame.fin for frame in fragments)
    assert sum(len(frame.data) for frame in fragments) == MESSAGE
    assert exchange.wire.sent.endswith(b"\x88\x02\x03\xe8")
    assert "incomplete fragmented message" in str(exchange.client.parser_exc)


@pytest.mark.parametrize(("word", "size"), [("ping-flood", 6), ("endless-fragments", FRAGMENT + 4)])
def test_nothing_is_queued_for_a_client_that_does_not_read(word, size):
    exchange = Exchange(word)
    exchange.layer.lost(ConnectionDone())
    assert not exchange.clock.getDelayedCalls()
    exchange = Exchange(None, room=0)
    exchange.layer._fault, exchange.layer._left = word, 1_000_000
    exchange.wire.unsent = 0
    exchange.layer._send_more()
    for _ in range(3):
        assert 0 < exchange.wire.unsent <= AT_ONCE * size
        exchange.clock.advance(PAUSE)
    exchange.wire.unsent = 0
    exchange.clock.advance(PAUSE)
    assert 0 < exchange.wire.unsent <= AT_ONCE * size
