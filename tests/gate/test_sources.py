"""Sources that get no reply: test 4 of docs/PROMISES.md, and the addresses of test 38 as packets."""

import socket
from collections import Counter

import pytest

from echod.gate.datagrams import REFLECTORS
from tests.chaos.faults import Injected
from tests.chaos.network import CLIENT4, CLIENT6, SERVER4, SERVER6
from tests.chaos.spoofed_packets import HIGH, Spoofer
from tests.daemon import Daemon
from tests.gate.configurations import asked, asking, configuration, counted, refused, settled

PORTS = (0, 7, 19, 53, 123, 1023, *sorted(REFLECTORS))
ADDRESSES = ("255.255.255.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "0.0.0.1")
EACH = 15  #: fewer than a flood, whose datagrams the kernel drops and counts separately
FLOOD = 5_000


def serving(plane: str, host: str = "127.0.0.1", more: str = "") -> str:
    return configuration(plane, f'echo]\nlisten = ["udp://{host}:0"]\n{more}')


@pytest.mark.needs_root
def test_a_spoofed_service_or_broadcast_gets_no_reply(lo, plane):
    with Daemon(serving(plane)) as daemon, Spoofer() as spoofer:
        place, lines = daemon.inet("echo", "udp"), len(daemon.stderr.raw)
        for port in PORTS:
            spoofer.send(("127.0.0.9", port), place, b"in its name", EACH)
            settled(daemon, place)
        for host in ADDRESSES:
            spoofer.send((host, HIGH), place, b"from a broadcast", EACH)
            settled(daemon, place)
        spoofer.send(place, place, b"in your own name", EACH)
        settled(daemon, place)
        others = len(PORTS) + len(ADDRESSES) + 1
        assert len(daemon.stderr.raw) == lines
        figures = counted(daemon, "echo", "udp")
        assert refused(figures) == {"source-port": EACH * (len(PORTS) + 1), "source-address": EACH * len(ADDRESSES)}
        assert figures["datagrams_out"] == others
        assert figures["datagrams_in"] == others + EACH * others


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("host", "to"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("*", "127.0.0.1"), ("*", "::1")]
)
def test_a_flood_of_invalid_sources_is_counted_completely(lo, plane, host, to):
    """Including datagrams that the kernel's filter drops; over IPv4 and IPv6, on sockets with one or both of them."""
    source = "::1" if ":" in to else "127.0.0.9"
    with Daemon(serving(plane, host)) as daemon, Spoofer(socket.AF_INET6 if ":" in to else socket.AF_INET) as spoofer:
        place, lines = (to, daemon.inet("echo", "udp")[1]), len(daemon.stderr.raw)
        lost = 0
        for port in (7, 123, 11211, place[1]):
            spoofer.send((source, port), place, b"flood", FLOOD)
            lost += settled(daemon, place, to)
        assert len(daemon.stderr.raw) == lines
        figures = counted(daemon, "echo", "udp")
        assert sum(refused(figures).values()) == 4 * FLOOD + lost
        assert set(refused(figures)) <= {"source-port", "kernel"}


@pytest.mark.needs_root
@pytest.mark.needs_tools
def test_service_continues_if_the_kernel_refuses_the_filter(lo, plane):
    with Daemon(serving(plane)) as daemon, Spoofer() as spoofer:
        place = daemon.inet("echo", "udp")
        with Injected(daemon.process.pid, "ENOMEM", calls="setsockopt") as injected:
            spoofer.send(("127.0.0.9", 7), place, b"flood", FLOOD)
            lost = settled(daemon, place)
        assert injected.injected
        assert sum(refused(counted(daemon, "echo", "udp")).values()) == FLOOD + lost
        text = f"echo  udp://127.0.0.1:{place[1]} reads each datagram of a flood, because the kernel refuses a filter"
        assert daemon.log().count(f"warn  {text}: cannot allocate memory (ENOMEM)\n") == 1
        assert daemon.log().count("refuses a filter") == 1


def test_datagrams_from_reflector_ports_get_no_reply(plane):
    """Ports above 1023 and echod's own on another address, which need no root; and the option that allows them."""
    allowing = f'allowing]\nkind = "echo"\nlisten = ["udp://127.0.0.1:0"]\nallow-source-ports = {sorted(REFLECTORS)}'
    with Daemon(configuration(plane, 'echo]\nlisten = ["udp://127.0.0.1:0"]', allowing)) as daemon:
        place, other = daemon.inet("echo", "udp"), daemon.inet("allowing", "udp")
        tried = 0
        for port in (*REFLECTORS, place[1], other[1]):
            try:
                client = asking(daemon, "127.0.0.9", port)
            except OSError:  # another process uses it on every address
                continue
            with client:
                client.sendto(b"hello", place)
                if port in REFLECTORS:
                    assert asked(client, other, b"and you?") == b"and you?"
            tried += 1
        settled(daemon, place)
        assert tried > 1
        figures = counted(daemon, "echo", "udp")
        assert refused(figures) == {"source-port": tried}
        assert figures["datagrams_out"] == 1
        assert not refused(counted(daemon, "allowing", "udp"))


# Addresses as packets

ALLOW = 'allow = ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "fd00:99::/64"]'
WIRE6 = {
    "::127.0.0.1": "source-address",
    "::10.99.0.2": "source-address",
    "64:ff9b::127.0.0.1": "source-address",
    "64:ff9b::10.99.0.2": "source-address",
    "::": "source-address",
    # An IPv4-mapped address in an IPv6 packet is always forged: RFC 4291 2.5.5.2 has that form for use inside a host.
    # Linux delivers it, and without a rule of the gate it would pass as the IPv4 host.
    "::ffff:127.0.0.1": "source-address",
    "::ffff:10.99.0.2": "source-address",
    "2001:db8::1": "denied",
    "64:ff9b::8.8.8.8": "denied",
}


@pytest.mark.needs_root
@pytest.mark.parametrize("host", ["*", f"[{SERVER6}]"])
def test_ipv6_sources_with_an_embedded_ipv4_address(two, plane, host):
    with Daemon(configuration(plane, f'echo]\nlisten = ["udp://{host}:0"]\n{ALLOW}')) as daemon:
        place = (SERVER6, daemon.inet("echo", "udp")[1])
        with two.client.inside(), Spoofer(socket.AF_INET6) as spoofer:
            for number, source in enumerate(WIRE6, start=1):  # different counts, so that sums are unambiguous
                spoofer.send((source, HIGH), place, b"let me in", number)
                settled(daemon, place, CLIENT6)
        figures = counted(daemon, "echo", "udp")
        expected = Counter[str]()
        for number, reason in enumerate(WIRE6.values(), start=1):
            expected[reason] += number
        assert refused(figures) == expected
        assert figures["datagrams_out"] == len(WIRE6)


@pytest.mark.needs_root
def test_broadcast_addresses_of_every_network_of_an_interface(two, plane):
    """An interface may have several networks, and each has its own broadcast address."""
    two.server.add("10.98.0.1/24", "10.97.0.1/16", device="eth0")
    config = configuration(plane, f'echo]\nlisten = ["udp://{SERVER4}:0"]\n{ALLOW}')
    with Daemon(config) as daemon:
        place = daemon.inet("echo", "udp")
        with two.client.inside(), Spoofer() as spoofer:
            for source in ("10.99.0.255", "10.98.0.255", "10.97.255.255"):
                spoofer.send((source, HIGH), place, b"hello, all", EACH)
            settled(daemon, place, CLIENT4)
        assert refused(counted(daemon, "echo", "udp")) == {"source-address": 3 * EACH}
