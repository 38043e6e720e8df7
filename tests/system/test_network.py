"""Addresses beyond 127.0.0.1: allowed clients, the meaning of `*`, and scopes."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from echod.testing.announced import inet_of
from tests.contract.matrix import exactly, rest
from tests.daemon import SECONDS, Daemon, free_port

SILENCE = 0.3  # seconds without a reply; a client on this machine has its reply earlier


def own_address() -> str:
    """An IPv4 address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a datagram socket sends nothing for that
        except OSError:
            pytest.skip("this machine has no network")
        address: str = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has only loopback")
    return address


def link_local() -> str:
    """A link-local address of this machine with its scope."""
    table = Path("/proc/net/if_inet6")
    for line in table.read_text().splitlines() if table.exists() else ():
        address, _, _, scope, flags, name = line.split()
        if scope == "20" and not int(flags, 16) & 0x48:  # link-local, and neither tentative nor a duplicate
            return f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address))}%{name}"
    pytest.skip("this machine has no link-local address")


def served(host: str, port: int) -> bool:
    """Whether a stream client that connects to this host gets its echo, and not a reset."""
    try:
        with socket.create_connection((host, port), SECONDS) as client:
            client.sendall(b"hello")
            return exactly(client, 5) == b"hello"
    except (ConnectionResetError, BrokenPipeError):
        return False


def answered(host: str, port: int, seconds: float = SECONDS) -> bool:
    """Whether a datagram client of this host gets its echo from there in time."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        client.connect((host, port))
        client.send(b"hello")
        try:
            return client.recv(100) == b"hello"
        except TimeoutError:
            return False


def test_only_loopback_is_allowed_by_default():
    own = own_address()
    listen = ["echo=tcp://*:0", "echo=udp://*:0"]
    with Daemon(listen=listen) as closed, Daemon(listen=listen, options=["--allow", own]) as opened:
        for daemon, expected in ((closed, False), (opened, True)):
            _, tcp = daemon.inet("echo", "tcp")
            _, udp = daemon.inet("echo", "udp")
            assert served("127.0.0.1", tcp)
            assert served(own, tcp) is expected
            assert answered("127.0.0.1", udp)
            assert answered(own, udp, SECONDS if expected else SILENCE) is expected
        warned = [line for line in closed.stderr.text if " is open to the network" in line]
        assert len(warned) == 2
        assert all(" warn " in line and "allow" in line for line in warned)
        assert not [line for line in opened.stderr.text if " is open to the network" in line]
        assert closed.counters()[f"echo {closed.url('echo', 'tcp')}"]["refused:denied"] == 1


LISTEN = """
[services.echo]
listen = ["tcp://*:0", "udp://*:0"]
[services.whoami]
listen = ["tcp://*:0"]
[services.ipv6]
kind = "echo"
listen = ["tcp://[::]:PORT", "udp://[::]:0"]
[services.name]
kind = "echo"
listen = ["tcp://localhost:0"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(LISTEN.replace("PORT", str(free_port()))) as daemon:
        yield daemon
        daemon.check()


def test_every_interface_is_one_socket_for_both_families(daemon):
    _, tcp = daemon.inet("echo", "tcp")
    _, udp = daemon.inet("echo", "udp")
    for host in ("127.0.0.1", "127.0.0.2", "::1"):
        assert served(host, tcp), host
        assert answered(host, udp), host


def test_an_ipv4_client_is_shown_as_one(daemon):
    with socket.create_connection(daemon.inet("whoami", "tcp"), SECONDS) as client:
        said = rest(client).decode()
    assert "::ffff" not in said
    assert '"127.0.0.1"' in said


def test_an_ipv6_address_accepts_only_ipv6(daemon):
    """Its port is not 0: the daemon of another test could get the same port of 127.0.0.1."""
    _, tcp = daemon.inet("ipv6", "tcp")
    assert served("::1", tcp)
    with pytest.raises(ConnectionRefusedError):
        served("127.0.0.1", tcp)


def test_a_name_is_bound_at_each_of_its_addresses(daemon):
    urls = [url for name, url in daemon.urls if name == "name"]
    known = {place[0] for *_, place in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    assert {inet_of(url)[0] for url in urls} == known
    for url in urls:
        assert served(*inet_of(url))


def test_a_link_local_address_keeps_its_scope():
    address = link_local()
    quoted = address.replace("%", "%25")  # as a URL should have it; both are understood
    config = f"""
[defaults]
allow = ["fe80::/10"]
[services.echo]
listen = ["tcp://[{quoted}]:0", "udp://[{address}]:0"]
[services.ack]
listen = ["udp://[{address}]:0"]
show = "text"
"""
    with Daemon(config) as daemon:
        ports = [int(re.search(r":(\d+)$", url).group(1)) for _, url in daemon.urls]
        assert served(address, ports[0])
        scope = socket.if_nametoindex(address.partition("%")[2])
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.settimeout(SECONDS)
            client.sendto(b"hello", (address.partition("%")[0], ports[1], 0, scope))
            answer, where = client.recvfrom(100)
            assert (answer, where[1:]) == (b"hello", (ports[1], 0, scope))
            client.sendto(b"and you", (address.partition("%")[0], ports[2], 0, scope))
            daemon.stdout.wait_for(rf"^udp \[fe80::.*{address.partition('%')[2]}\]:\d+: and you$")
