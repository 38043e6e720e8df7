"""A shared socket: its users, its door, and the services behind the door."""

import socket
from functools import partial
from ipaddress import ip_network

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from echod.events import Closing, Events
from echod.gate.access import Access
from echod.gate.connections import ConnectionGate
from echod.gate.limits import UNLIMITED, Limits, Rate
from echod.gate.refusal import Refusal
from echod.services.echo import Echo
from echod.services.upper import Upper
from echod.socket_names import Inet
from echod.transports.layers.http_answer import Resource
from echod.transports.layers.layer_interface import Facts
from echod.transports.layers.websocket_server import WebSocketServer
from echod.transports.service_factory import ServiceFactory
from echod.transports.url_path_port import PathPort, SharedSocket
from tests.unit.test_transports_websocket import REQUEST
from tests.wire import Wire

HOST = b"\x7f\0\0\1"
REMOTE = Inet("127.0.0.1", 40_000)


class Port:
    """The port of the socket, which records its calls."""

    def __init__(self):
        self.calls = []

    def startListening(self):
        self.calls.append("start")

    def stopListening(self):
        self.calls.append("stop")

    def release(self):
        self.calls.append("release")


class Shared:
    """A shared socket with services at /echo and /upper."""

    def __init__(self, echo=None, upper=None, allow="127.0.0.0/8"):
        self.clock = Clock()
        self.closed = []
        self.socket = SharedSocket(socket.socket(), lambda: self.closed.append("closing"))
        self.events = []
        self.listened = []
        events = Events()
        events.subscribe(lambda name, fields: self.events.append((name, fields["service"])), connections=True)
        layer = partial(WebSocketServer, clock=self.clock, seconds=10.0, resources=self.socket.resources)
        self.ports: dict[str, PathPort] = {}
        self.factories: dict[str, ServiceFactory] = {}
        for service, limits, shares in ((Echo(), echo, self.socket), (Upper(), upper, self.socket.share())):
            limits = limits or Limits(new_per_client=UNLIMITED)
            networks = [ip_network(allow if service.kind == "echo" else "127.0.0.0/8")]
            gate = ConnectionGate(Access(networks), limits, self.clock.seconds)
            factory = ServiceFactory(
                service, gate=gate, limits=limits, events=events, clock=self.clock, layers=(layer,), loopback=True
            )
            door_gate = ConnectionGate(Access(networks), limits, self.clock.seconds)
            resource = Resource(f"/{service.kind}", service.kind, service.kind)
            self.ports[service.kind] = PathPort(
                shares, factory, resource, listen=self.listen, gate=door_gate, close=shares.close
            )
            self.factories[service.kind] = factory

    def listen(self, door):
        self.listened.append(Port())
        return self.listened[-1]

    def start(self):
        for port in self.ports.values():
            port.startListening()
        return self

    def counters(self, kind):
        return self.factories[kind].counters.figures()

    def connect(self, path=None):
        """A connection that has sent a request; None if the door refused it."""
        receiver = self.socket.door.receiver_for(HOST, REMOTE)
        if receiver is None:
            return None
        wire = Wire(Facts(Inet("127.0.0.1", 7), REMOTE))
        wire.receiver = receiver
        receiver.begin(wire)
        if path is not None:
            receiver.received(REQUEST.replace(b"/echo", path))
        return wire

    def close(self):
        for port in self.ports.values():
            port.stopListening()


@pytest.fixture
def shared():
    made = Shared().start()
    yield made
    made.close()


def test_the_last_user_closes_the_socket(shared):
    assert [port.calls for port in shared.listened] == [["start"]]
    shared.ports["echo"].stopListening()
    assert (shared.closed, shared.listened[0].calls) == ([], ["start"])
    shared.ports["upper"].stopListening()
    assert (shared.closed, shared.listened[0].calls) == (["closing"], ["start", "stop"])
    assert shared.socket.socket.fileno() == -1
    shared.ports["upper"].stopListening()
    assert shared.closed == ["closing"]


def test_a_socket_that_is_released_can_be_served_again(shared):
    for port in shared.ports.values():
        port.release()
    assert shared.listened[0].calls == ["start", "release"]
    assert shared.socket.socket.fileno() != -1
    shared.start()
    assert [port.calls for port in shared.listened] == [["start", "release"], ["start"]]


def test_the_path_selects_the_service_that_counts_the_connection(shared):
    wire = shared.connect(b"/upper")
    assert wire.sent.startswith(b"HTTP/1.1 101 ")
    assert (shared.counters("echo"), shared.counters("upper")) == ({}, {"accepted": 1, "open": 1})
    assert shared.factories["upper"].gate.open == 1
    assert shared.socket.door.gate.open == 0
    wire.receiver.lost(ConnectionDone())
    assert shared.counters("upper") == {"accepted": 1, "closed:done": 1}
    assert shared.factories["upper"].gate.open == 0
    assert shared.events == [("connection.opened", "upper"), ("connection.closed", "upper")]


@pytest.mark.parametrize(
    ("request_", "closing"), [(b"/none", Closing.HANDSHAKE), (b"/echo?", None), (None, Closing.LOST)]
)
def test_a_connection_without_a_path_counts_for_the_first_service(shared, request_, closing):
    wire = shared.connect(request_)
    wire.receiver.lost(ConnectionDone())
    found = shared.counters("echo")
    assert found["accepted"] == 1
    assert closing is None or found[f"closed:{closing}"] == 1
    assert shared.socket.door.gate.open == 0
    assert not shared.socket.door.entrances


def test_the_gate_of_the_path_refuses_after_the_door():
    shared = Shared(allow="192.0.2.0/24").start()
    wire = shared.connect(b"/echo")
    assert (wire.sent, wire.ended) == (b"", "reset")
    wire.receiver.lost(ConnectionDone())
    assert shared.counters("echo") == {"accepted": 1, "refused:denied": 1, "closed:refused": 1}
    assert shared.connect(b"/upper").sent.startswith(b"HTTP/1.1 101 ")
    shared.ports["upper"].stopListening()  # only the service is left that does not allow the client
    assert shared.connect() is None
    assert shared.counters("echo")["refused:denied"] == 2
    shared.close()


def test_the_door_bounds_unfinished_handshakes_by_the_largest_limits():
    few, more = (Limits(per_client=count, connections=9, new_per_client=UNLIMITED) for count in (1, 2))
    shared = Shared(few, more).start()
    wires = [shared.connect(), shared.connect()]
    assert shared.connect() is None
    assert shared.factories["echo"].counters.refused == {Refusal.PER_CLIENT: 1}
    wires[0].receiver.received(REQUEST)
    assert shared.connect() is not None
    shared.close()


def test_the_door_limits_the_rate_as_the_most_generous_service_does():
    slow, slower = (Limits(new_per_client=Rate(1, burst)) for burst in (3, 2))
    shared = Shared(slow, slower).start()
    for _ in range(3):
        assert shared.connect() is not None
    assert shared.connect() is None
    assert shared.factories["echo"].counters.refused == {Refusal.NEW_PER_CLIENT: 1}
    shared.close()


def test_a_removed_path_is_served_until_the_handshakes_that_have_begun_are_over(shared):
    wire, late = shared.connect(), shared.connect()
    shared.close()
    drained = [factory.drain(2) for factory in shared.factories.values()]
    assert [one.called for one in drained] == [False, False]
    assert set(shared.socket.resources) == {"/echo", "/upper"}
    late.receiver.lost(ConnectionDone())
    wire.receiver.received(REQUEST)
    assert wire.sent.startswith(b"HTTP/1.1 101 ")
    assert shared.socket.resources == {}
    assert [one.called for one in drained] == [False, True]
    shared.clock.pump([0.25] * 8)
    assert wire.sent.endswith(b"\x88\x02\x03\xe9")  # Close with 1001
    wire.receiver.lost(ConnectionDone())
    assert [one.called for one in drained] == [True, True]


def test_a_reset_of_unfinished_handshakes(shared):
    wire = shared.connect()
    shared.factories["upper"].abandon()
    assert wire.ended == "reset"
    wire.receiver.lost(ConnectionDone())
    assert shared.counters("echo") == {"accepted": 1, "closed:drain": 1}
