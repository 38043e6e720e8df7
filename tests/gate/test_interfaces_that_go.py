"""A removed interface ends only its own connections and datagrams: a VPN ends, a cable is pulled."""

import signal
import socket
from typing import Any

import pytest

from tests.chaos.connect_burst import served
from tests.chaos.network import LINK, link_local
from tests.daemon import SECONDS, Daemon
from tests.gate.configurations import STAYING, configuration, settled

pytestmark = pytest.mark.needs_root

ALLOW = 'allow = ["fe80::/10", "127.0.0.0/8", "::1/128"]'


def serving(plane: str, kind: str) -> str:
    return configuration(plane, f'{kind}]\nlisten = ["tcp://*:0", "udp://*:0"]\n{ALLOW}\n{STAYING.get(kind, "")}')


def client_of(two, kind: socket.SocketKind, port: int) -> socket.socket:
    """A client at the other end of the link, by link-local addresses."""
    with two.client.inside():
        place: Any = (link_local(two.server), port, 0, socket.if_nametoindex(LINK))
        client = socket.socket(socket.AF_INET6, kind)
    client.settimeout(SECONDS)
    client.connect(place)
    return client


@pytest.mark.parametrize("kind", ["echo", "ack"])
def test_removal_with_requests_in_flight(two, plane, kind):
    """A connection and a datagram wait for a busy daemon, and their interface is removed before it reads them."""
    with Daemon(serving(plane, kind)) as daemon:
        tcp, udp = daemon.inet(kind, "tcp")[1], daemon.inet(kind, "udp")[1]
        daemon.send_signal(signal.SIGSTOP)
        try:
            with client_of(two, socket.SOCK_STREAM, tcp), client_of(two, socket.SOCK_DGRAM, udp) as asking:
                asking.send(b"are you there?")
                two.server.ip("link", "delete", LINK)
        finally:
            daemon.send_signal(signal.SIGCONT)
        assert served(("127.0.0.1", tcp)), "no client is served any more"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(SECONDS)
            for _ in range(3):
                asking.sendto(b"and you, are you there?", ("127.0.0.1", udp))
                assert asking.recv(100)
        daemon.check()
        assert daemon.stop() == 0


@pytest.mark.parametrize("kind", ["echo", "ack"])
def test_removal_with_an_open_connection(two, plane, kind):
    """The daemon stops normally: a connection whose interface was removed has ended, which is not an error."""
    with Daemon(serving(plane, kind).replace("600s", "1s")) as daemon:
        with client_of(two, socket.SOCK_STREAM, daemon.inet(kind, "tcp")[1]) as client:
            client.sendall(b"?")
            assert client.recv(1)
            two.server.ip("link", "delete", LINK)
            if kind == "echo":
                settled(daemon, ("127.0.0.1", daemon.inet(kind, "udp")[1]))
            daemon.check()
            figures = daemon.counters()[f"{kind} {daemon.url(kind, 'tcp')}"]
        daemon.check()
        assert figures["accepted"] == 1
        assert "open" not in figures
