"""A request to many hosts at once gets no reply: every host that replies would multiply it."""

import socket

import pytest

from tests.chaos.network import CLIENT4, CLIENT6, LINK, SERVER4, SERVER6
from tests.chaos.spoofed_packets import HIGH
from tests.daemon import SECONDS, Daemon
from tests.gate.configurations import SILENCE, asking, configuration, counted, refused, settled

pytestmark = pytest.mark.needs_root

ALLOW = 'allow = ["10.99.0.0/24", "fd00:99::/64", "fe80::/10"]'
MANY4 = ("10.99.0.255", "255.255.255.255", "224.0.0.1")
EACH = 3
LAST = b"to you alone"


def answers(client: socket.socket) -> int:
    """The number of datagrams that arrive until none does."""
    client.settimeout(SILENCE)
    count = 0
    try:
        while client.recv(100):
            count += 1
    except TimeoutError:
        return count
    return count


def delivered(two, place, kind):
    """How many of EACH datagrams to such an address a socket of this kind receives at all: a kernel may drop them."""
    with socket.socket(kind, socket.SOCK_DGRAM) as probe:
        if kind == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.settimeout(SECONDS)
        probe.bind(("", 0))
        port = probe.getsockname()[1]
        with two.client.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            send_to_many(place[0], port)
            client.sendto(LAST, (SERVER4, port))  # it arrives after the others
        count = 0
        while probe.recv(100) != LAST:
            count += 1
        return count


def send_to_many(host: str, port: int) -> int:
    """Send EACH requests from the client's network; returns the number of replies."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, LINK.encode())
        client.bind((CLIENT4, HIGH))
        for _ in range(EACH):
            client.sendto(b"hello, all", (host, port))
        return answers(client)


@pytest.mark.parametrize("host", ["0.0.0.0", "*"])
def test_ipv4(two, plane, host):
    family = socket.AF_INET if host == "0.0.0.0" else socket.AF_INET6
    expected = sum(delivered(two, (many, 0), family) for many in MANY4)
    assert expected
    with Daemon(configuration(plane, f'echo]\nlisten = ["udp://{host}:0"]\n{ALLOW}')) as daemon:
        port = daemon.inet("echo", "udp")[1]
        with two.client.inside():
            for many in MANY4:
                assert send_to_many(many, port) == 0
            settled(daemon, (SERVER4, port), CLIENT4)
        figures = counted(daemon, "echo", "udp")
        assert refused(figures) == {"destination": expected}
        assert figures["datagrams_out"] == 1


@pytest.mark.parametrize("host", ["[::]", "*"])
def test_ipv6(two, plane, host):
    with Daemon(configuration(plane, f'echo]\nlisten = ["udp://{host}:0"]\n{ALLOW}')) as daemon:
        port = daemon.inet("echo", "udp")[1]
        with two.client.inside():
            scope = socket.if_nametoindex(LINK)
            with asking(daemon, "::") as client:
                for _ in range(EACH):
                    client.sendto(b"hello, all nodes", ("ff02::1", port, 0, scope))
                assert answers(client) == 0
            settled(daemon, (SERVER6, port), CLIENT6)
        figures = counted(daemon, "echo", "udp")
        assert refused(figures) == {"destination": EACH}
        assert figures["datagrams_out"] == 1
