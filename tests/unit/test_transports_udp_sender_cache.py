"""The cache of the sources of datagrams."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.internet.task import Clock

from echod.address import parse
from echod.gate.access import Access
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import Limits, Rate
from echod.gate.refusal import Refusal
from echod.model import Peer, Service
from echod.services.echo import Echo
from echod.services.whoami import Whoami
from echod.transports import udp
from echod.transports.datagram import ServiceDatagrams
from echod.transports.packet_stamps import IP_RECVTTL
from echod.transports.udp_options import IP_PKTINFO
from echod.transports.udp_sender_cache import REMEMBERED, Source, Sources
from tests.fastpath.reactors import failures

UNLIMITED = Rate(0, 0)
LOOPBACK = Access([ipaddress.ip_network("127.0.0.0/8")])
DENIED = Access([ipaddress.ip_network("127.0.0.0/8")], [ipaddress.ip_network("127.0.1.0/24")])


class Reactor(Clock):
    """A clock that ignores readers."""

    def addReader(self, reader: object) -> None:
        """As IReactorFDSet."""

    removeReader = addReader


class Lengths(Service):
    """Replies with a text of the requested size, and records the peers."""

    kind = "lengths"

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[Peer] = []

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        self.peers.append(peer)
        if not datagram:
            return None
        if datagram == b"bug":
            raise ValueError("a bug")
        return b"x" * int(datagram)


@contextmanager
def port(service: Service, url: str, *, rate: Rate = UNLIMITED) -> Iterator[tuple[Any, socket.socket]]:
    """A port, whose gate is `port.protocol.gate`, and a client at 127.0.1.1."""
    reactor: Any = Reactor()
    gate = DatagramGate(LOOPBACK, Limits(rate=rate), reactor.seconds)
    (bound,) = udp.TRANSPORT.bind(None, parse(url))
    made = udp.TRANSPORT.listen(reactor, bound, parse(url), ServiceDatagrams(service, gate=gate), bound.close)
    made.startListening()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.1.1", 0))
        client.settimeout(10)
        yield made, client
    made.stopListening()


def sent(made: Any, client: socket.socket, *requests: bytes, to: str = "127.0.0.1") -> None:
    """Send these requests, and let the port read them."""
    for request in requests:
        client.sendto(request, (to, made.socket.getsockname()[1]))
    made.doRead()


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://*:0"])
def test_changed_access_lists_apply_after_forget(url):
    with port(Echo(), url) as (made, client):
        sent(made, client, b"before")
        assert client.recv(10) == b"before"
        made.protocol.gate.reconfigure(DENIED, Limits(rate=UNLIMITED), Access(()), ())
        made.forget()
        sent(made, client, b"after", b"after")
        assert made.protocol.counters.refused == {Refusal.DENIED: 2}


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://*:0"])
def test_each_reply_bug_and_refusal_is_counted(url):
    service = Lengths()
    with port(service, url) as (made, client):
        with failures() as logged:
            sent(made, client, b"1", b"", b"2", b"bug", b"03", b"002")
        assert [client.recv(10), client.recv(10)] == [b"x", b"xx"]
        assert len(logged) == 1
        counters = made.protocol.counters
        assert (counters.datagrams_in, counters.bytes_in) == (6, 10)
        assert counters.refused == {Refusal.LARGER: 2}
        assert (counters.datagrams_out, counters.bytes_out) == (2, 3)
        assert len(set(map(id, service.peers))) == 1


def test_a_source_has_an_entry_for_each_local_address():
    with port(Echo(), "udp://*:0") as (made, client):
        for host in ("127.0.0.5", "127.0.0.6", "127.0.0.5"):
            sent(made, client, b"a", to=host)
            assert client.recvfrom(10)[1][0] == host


def test_a_rate_is_checked_for_each_datagram():
    with port(Echo(), "udp://127.0.0.1:0", rate=Rate(1, 3)) as (made, client):
        sent(made, client, b"a", b"b", b"c", b"d")
        assert made.protocol.counters.refused == {Refusal.RATE: 1}
        assert made.protocol.counters.datagrams_out == 3


@pytest.mark.parametrize(("service", "asked"), [(Echo(), 0), (Whoami(), 1)])
def test_the_kernel_reports_metadata_only_to_services_that_need_it(service, asked):
    with port(service, "udp://127.0.0.1:0") as (made, _client):
        bound = made.socket
        assert [bound.getsockopt(socket.IPPROTO_IP, option) for option in (IP_RECVTTL, IP_PKTINFO)] == [asked] * 2
        made.release()
        assert [bound.getsockopt(socket.IPPROTO_IP, option) for option in (IP_RECVTTL, IP_PKTINFO)] == [1, 1]
        made.startListening()


def test_a_full_table_is_emptied():
    sources = Sources()
    entries = [Source(None, False, ("127.0.0.1", number), None, None, []) for number in range(REMEMBERED + 1)]
    for number, source in enumerate(entries):
        assert sources.add(number, source) is source
    assert sources.get(0) is None
    assert sources.get(REMEMBERED) is entries[-1]
