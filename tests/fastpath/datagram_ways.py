"""Both paths of UDP side by side: a socket on the fast path and one on the plain path, served by hand."""

from __future__ import annotations

import ipaddress
import select
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from hypothesis import strategies as st
from twisted.internet.task import Clock

from echod.address import parse
from echod.daemon.fast_path import udp_port
from echod.fastpath.loop import Loop
from echod.fastpath.udp_lane import UDPLane
from echod.gate.access import Access
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import Limits, Rate
from echod.model import Service
from echod.transports import udp
from echod.transports.datagram import ServiceDatagrams
from tests.daemon import SECONDS

SOURCES = ("127.0.1.1", "127.0.1.2", "127.0.2.1", "127.0.3.1")  # three networks; the last is denied
RATE = Rate(20, 40)


class Reactor(Clock):
    """A reactor that watches no socket: the test says when one is ready."""

    def addReader(self, reader: object) -> None:
        """As IReactorFDSet's."""

    removeReader = addReader


class Way:
    """One of both paths: a socket, its gate and its counters."""

    def __init__(self, service: Service, url: str, rate: Rate, *, loop: type[Loop] | None, own_port: int) -> None:
        self.clock = Reactor()
        allow = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]
        access = Access(allow, [ipaddress.ip_network("127.0.3.0/24")])
        gate = DatagramGate(access, Limits(rate=rate), self.clock.seconds, own_ports={own_port})
        self.protocol = ServiceDatagrams(service, gate=gate)
        (bound,) = udp.TRANSPORT.bind(None, parse(url))
        reactor: Any = self.clock
        self.port = udp.TRANSPORT.listen(reactor, bound, parse(url), self.protocol, bound.close)
        self.socket = bound
        self.lane: UDPLane | None = None
        self.loop: Loop | None = None
        if loop is not None:
            self.loop = loop(reactor)
            lane = udp_port(self.loop, self.port)
            assert isinstance(lane, UDPLane)
            self.lane = lane
        (self.lane or self.port).startListening()

    def turn(self) -> None:
        """Serve once, as if the socket was ready."""
        if self.lane is not None and self.loop is not None:
            self.loop.doRead()
        else:
            self.port.doRead()

    def stop(self) -> None:
        """Stop serving."""
        (self.lane or self.port).stopListening()
        if self.loop is not None:
            self.loop.discard()

    def serve(self, sent: int) -> None:
        """Serve until `sent` datagrams in total have arrived: loopback is slow on a busy machine."""
        while self.protocol.counters.datagrams_in < sent:
            assert select.select([self.socket], [], [], SECONDS)[0], "a datagram is lost"
            self.turn()

    @property
    def told(self) -> dict[str, int]:
        """Its counters."""
        return self.protocol.counters.figures()


@contextmanager
def both(
    service: Service, url: str, rate: Rate, loop: type[Loop] = Loop
) -> Iterator[tuple[Way, Way, list[list[socket.socket]]]]:
    """Both paths, and for each path a client of every source; the second client's port is one of echod's own.

    `loop` is that of the fast path.
    """
    with ExitStack() as stack:
        clients: list[list[socket.socket]] = []
        used: set[int] = set()
        for _ in range(2):
            clients.append([])
            for host in SOURCES:
                client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                client.bind((host, 0))
                while client.getsockname()[1] in used:  # of another host: it could be the port that is echod's own
                    client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    client.bind((host, 0))
                used.add(client.getsockname()[1])
                client.setblocking(False)
                clients[-1].append(client)
        ways = [
            Way(service, url, rate, loop=kind, own_port=mine[1].getsockname()[1])
            for kind, mine in zip((None, loop), clients, strict=True)
        ]
        for way in ways:
            stack.callback(way.stop)
        yield ways[0], ways[1], clients


def answers(clients: list[socket.socket], due: int) -> list[list[tuple[bytes, Any]]]:
    """The datagrams that each client received, with their source host, after `due` replies in total."""
    found: list[list[tuple[bytes, Any]]] = [[] for _ in clients]
    while sum(map(len, found)) < due:
        ready = select.select(clients, [], [], SECONDS)[0]
        assert ready, "a reply is lost"
        for client in ready:
            data, name = client.recvfrom(70_000)
            found[clients.index(client)].append((data, name[0]))
    assert not select.select(clients, [], [], 0)[0]
    return found


Turn = tuple[Sequence[tuple[int, bytes, int]], float]
"""Datagrams as source, payload and how often; and the seconds afterwards."""


def turns_of(payloads: st.SearchStrategy[bytes], *, often: int, turns: int) -> st.SearchStrategy[list[Turn]]:
    """Up to `turns` turns, with each datagram up to `often` times."""
    datagrams = st.tuples(st.integers(0, len(SOURCES) - 1), payloads, st.integers(1, often))
    pauses = st.sampled_from([0.0, 0.05, 0.7, 3.0, 61.0])
    return st.lists(st.tuples(st.lists(datagrams, min_size=1, max_size=6), pauses), min_size=1, max_size=turns)


def check_turns(
    ways: tuple[Way, Way],
    clients: list[list[socket.socket]],
    turns: list[Turn],
    compared: Callable[[bytes], bytes] = lambda data: data,
) -> None:
    """Send the same datagrams to both paths: their counters and the `compared` part of their replies must be equal."""
    sent = due = 0
    for batch, pause in turns:
        sent += sum(often for _, _, often in batch)
        for way, mine in zip(ways, clients, strict=True):
            place = ("127.0.0.1", way.socket.getsockname()[1])
            for source, payload, often in batch:
                for _ in range(often):
                    mine[source].sendto(payload, place)
            way.serve(sent)
            way.clock.advance(pause)
        assert ways[0].told == ways[1].told
        new = ways[0].protocol.counters.datagrams_out - due
        came = [[[(compared(data), host) for data, host in each] for each in answers(mine, new)] for mine in clients]
        assert came[0] == came[1]
        due += new
    assert ways[0].told == ways[1].told
