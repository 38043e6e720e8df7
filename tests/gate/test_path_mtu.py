"""A reply that is larger than a link on its way arrives, also if no router reports that link's MTU."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from echod.address import Address, parse
from echod.transports import udp, udp_options
from echod.transports.sockets import IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC
from tests.chaos.network import LINK, Lacking, Network
from tests.daemon import ECHOCTL, SECONDS, Daemon, run
from tests.gate.configurations import configuration

NEAR, FAR = "10.98.1.2", "10.98.2.2"  # of the server and of the client
FAR_NETWORK: Final = "10.98.2.0/24"
NARROW: Final = 1400  #: bytes of a packet on the client's link
SIZES: Final = (NARROW + 20, 8000, 200)  #: above the narrow link, above every link, below both
SERVICE = f'echo]\nlisten = ["udp://{NEAR}:0", "udp://*:0"]\nallow = ["{FAR_NETWORK}"]\nlimits = {{ rate = "0" }}'


@pytest.fixture
def client() -> Iterator[tuple[Network, Network]]:
    """The networks of a server and of a client; the router between them reports nothing."""
    with ExitStack() as stack:
        try:
            server, router, far = (stack.enter_context(Network()) for _ in range(3))
            server.join(router)
            router.ip("link", "set", LINK, "down")
            router.ip("link", "set", LINK, "name", "eth1")
            router.ip("link", "set", "eth1", "up")
            router.join(far)
            server.add(f"{NEAR}/24", device=LINK)
            router.add("10.98.1.1/24", device="eth1")
            router.add("10.98.2.1/24", device=LINK)
            far.add(f"{FAR}/24", device=LINK)
            for network in (router, far):
                network.ip("link", "set", LINK, "mtu", str(NARROW))
            server.ip("route", "add", "default", "via", "10.98.1.1")
            far.ip("route", "add", "default", "via", "10.98.2.1")
            router.drops_icmp()
            with router.inside():
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        except Lacking as lacking:
            pytest.skip(str(lacking))
        yield server, far


def answered(place: tuple[str, int], sizes: tuple[int, ...]) -> list[int]:
    """The sizes of the replies, to one datagram of each size."""
    came = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC["dont"])
        asking.settimeout(SECONDS)
        asking.connect(place)
        for size in sizes:
            asking.send(bytes(size))
            came.append(len(asking.recv(65_536)))
    return came


@pytest.mark.needs_root
def test_a_reply_above_the_path_mtu_arrives(client, plane):
    server, far = client
    with server.inside(), Daemon(configuration(plane, SERVICE)) as daemon:
        for start in (f"udp://{NEAR}", "udp://*"):
            place = (NEAR, daemon.inet("echo", start)[1])
            with far.inside():
                assert answered(place, SIZES) == list(SIZES)
                assert alike(place, 64, NARROW + 20) == 64


def alike(place: tuple[str, int], count: int, size: int) -> int:
    """How many of so many datagrams of one size have their reply; the fast path sends those with UDP_SEGMENT."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC["dont"])
        asking.settimeout(SECONDS)
        asking.connect(place)
        for _ in range(count):
            asking.send(bytes(size))
        try:
            return sum(len(asking.recv(65_536)) == size for _ in range(count))
        except TimeoutError:
            return -1


@pytest.mark.needs_root
def test_ping_with_df_meets_the_narrow_link(client):
    """The probes of -M do are lost where those of -M dont are answered."""
    server, far = client
    with server.inside(), Daemon(configuration("auto", SERVICE)) as daemon:
        url = f"udp://{NEAR}:{daemon.inet('echo', f'udp://{NEAR}')[1]}"
        with far.inside():
            words = (*ECHOCTL, "ping", "-c", "2", "-i", "10ms", "-W", "20s", "-s", str(NARROW + 20), url)
            fragmented, whole = run(*words, "-M", "dont"), run(*words, "-M", "do")
        assert fragmented.returncode == 0, fragmented
        assert whole.returncode == 1, whole
        assert b"EMSGSIZE" in whole.stderr


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", "4"), ("*", "46"), ("::1", "6")])
def test_listeners_send_ipv4_without_df_and_leave_ipv6_alone(host, family):
    [bound] = udp.TRANSPORT.bind(None, Address("udp", host, 0))
    with bound:
        if "4" in family:
            assert bound.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == udp_options.IP_PMTUDISC_OMIT
        if "6" in family and bound.family == socket.AF_INET6:
            assert bound.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) == PMTUDISC["want"]


@pytest.mark.parametrize("how", sorted(PMTUDISC))
def test_df_of_an_address_wins(how):
    [bound] = udp.TRANSPORT.bind(None, parse(f"udp://127.0.0.1:0?df={how}"))
    with bound:
        assert bound.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == PMTUDISC[how]
