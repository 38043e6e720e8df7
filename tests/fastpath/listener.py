"""One listener in this process; the test turns its loop and moves its clock. On the fast path or the plain path."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock

from echod.daemon.fast_path import lane_class
from echod.events import Events
from echod.fastpath import native_library, syscalls
from echod.fastpath.loop import Loop
from echod.fastpath.native_loop import NativeLoop
from echod.fastpath.stream_lane import StreamLane
from echod.gate.access import Access
from echod.gate.connections import ConnectionGate
from echod.gate.limits import UNLIMITED, Limits
from echod.gate.total_buffer import SendBudget
from echod.model import Service
from echod.transports.accept_backoff import SpareDescriptor
from echod.transports.service_factory import ServiceFactory
from echod.transports.tcp import TCPPort
from echod.transports.unix import UnixPort
from tests.contract.matrix import data
from tests.fastpath.clients import connect, descriptors
from tests.fastpath.reactors import reactor_of, turn_until
from tests.layers import LAYERS

STALL: Final = 10.0
IDLE: Final = 100.0
TURNS: Final = 20  # turns after which everything that needs no client has happened

LOOPS: Final = {"plane": Loop, "native": NativeLoop}  # the fast path in Python, and with the native loop
needs_the_native_loop = pytest.mark.skipif(native_library.library is None, reason="the native loop was not compiled")
both_loops = pytest.mark.parametrize("way", ["plane", pytest.param("native", marks=needs_the_native_loop)])
needs_the_plane = pytest.mark.skipif(not syscalls.available, reason="the fast path is not available")


class Listener:
    """A listening socket, its factory, and clients. `way` is the path, or the layers of tests.layers in between."""

    def __init__(
        self,
        reactor: Any,
        way: str,
        listening: socket.socket,
        service: Service,
        limits: Limits,
        proxies: Access | None = None,
    ) -> None:
        self.reactor = reactor
        self.clock = Clock()
        self.listening = listening
        self.place = listening.getsockname()
        self.events: list[tuple[str, dict[str, Any]]] = []
        events = Events()
        events.subscribe(lambda name, fields: self.events.append((name, dict(fields))))
        self.told: list[str] = []
        self.unsent = SendBudget(lambda name, **_: self.told.append(name))
        gate = ConnectionGate(Access([ip_network("127.0.0.0/8")]), limits, self.clock.seconds)
        self.factory = ServiceFactory(
            service,
            gate=gate,
            limits=limits,
            events=events,
            clock=self.clock,
            loopback=True,
            unsent=self.unsent,
            layers=LAYERS.get(way.removesuffix(" and plane"), lambda _clock: ())(self.clock),
            proxies=proxies,
        )
        self.counters = self.factory.counters
        reserve = SpareDescriptor()
        reserve.keep()
        port = TCPPort if listening.family == socket.AF_INET else UnixPort
        plain = port(reactor, listening, self.factory, reserve, listening.close)
        self.port: Any = plain
        self.loop: Loop | None = None
        if way in LOOPS or (way.endswith(" and plane") and StreamLane.can_serve(plain)):
            self.loop = LOOPS.get(way, Loop)(reactor)
            self.port = lane_class(plain)(self.loop, plain, reserve)
            self.loop.start()
        self.reserve = reserve
        self.clients = ExitStack()
        self.port.startListening()
        self.listens = True

    def turn(self, turns: int = TURNS) -> None:
        for _ in range(turns):
            self.reactor.iterate(0)
            self.clock.advance(0)  # what is due in the next turn, such as new units of the work budget

    def until(self, what: Callable[[], object]) -> None:
        turn_until(self.reactor, what)

    def pass_time(self, seconds: float) -> None:
        """Advance the clock in small steps, as the reactor does."""
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)
        self.turn()

    def connect(self, *, narrow: bool = True) -> socket.socket:
        client = self.clients.enter_context(connect(self.place, narrow=narrow))
        client.setblocking(False)
        before = self.counters.accepted + sum(self.counters.refused.values())
        self.until(lambda: self.counters.accepted + sum(self.counters.refused.values()) > before)
        return client

    def hear(self, client: socket.socket, size: int) -> bytes:
        """The next bytes; fewer if the connection ends first."""
        came = bytearray()

        def more() -> bool:
            try:
                part = client.recv(min(size - len(came), 1 << 18))
            except BlockingIOError:
                return False
            came.extend(part)
            return not part or len(came) == size

        self.until(more)
        return bytes(came)

    def rest(self, client: socket.socket) -> bytes:
        return self.hear(client, 1 << 40)

    def exchange(self, client: socket.socket, source: bytes) -> bytes:
        """Send all of `source` and read meanwhile; returns what came back until then."""
        sent, came = 0, bytearray()
        while sent < len(source):
            with suppress(BlockingIOError):
                sent += client.send(source[sent : sent + 100_000])
            self.turn(2)
            with suppress(BlockingIOError):
                came += client.recv(1 << 20)
        return bytes(came)

    def stick(self, client: socket.socket, piece: int = 16_384) -> int:
        """Send without reading until nothing is accepted; returns the number of bytes."""
        sent = still = 0
        source = data()
        while still < 3:
            try:
                sent += client.send(source[sent : sent + piece])
                still = 0
            except BlockingIOError:
                still += 1
            self.turn(3)
        return sent

    def stop(self) -> None:
        """Stop as the daemon does, without waiting."""
        if self.listens:
            self.listens = False
            self.port.stopListening()
            if self.loop is not None:
                self.loop.stop()

    def close(self) -> None:
        self.stop()
        self.factory.abandon()
        self.turn()
        self.clients.close()
        self.reserve.give_up()
        assert self.counters.open == 0
        assert self.counters.accepted == sum(self.counters.closed.values())
        assert self.factory.gate is not None
        assert self.factory.gate.open == 0


@contextmanager
def listener(
    way: str, scheme: str, path: Path, service: Service, proxies: Access | None = None, **limits: Any
) -> Iterator[Listener]:
    """Check at the end that every descriptor it opened is closed, in any case.

    A garbage collection may meanwhile close descriptors of earlier tests.
    """
    given = replace(Limits(stall=STALL, idle=IDLE, new_per_client=UNLIMITED), **limits)
    before = descriptors(os.getpid())
    with reactor_of(EPollReactor) as reactor:
        if scheme == "tcp":
            listening = socket.create_server(("127.0.0.1", 0), backlog=200)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listening.bind(str(path / "s"))
            listening.listen(200)
        listening.setblocking(False)
        made = Listener(reactor, way, listening, service, given, proxies)
        try:
            yield made
        finally:
            made.close()
    left = descriptors(os.getpid()) - before
    assert not left, left


def unsent(made: Listener) -> int:
    """The number of bytes that wait to be sent."""
    if isinstance(made.port, StreamLane):
        return sum(one.left for one in made.port._waiting.values())
    return sum(one.unsent for one in made.factory.conversations)
