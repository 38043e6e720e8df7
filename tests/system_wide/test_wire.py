"""Options of addresses, as the packets on a link show them: what tcpdump would print, read from a packet socket.

The daemon and the client are in two network namespaces with a link between them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.chaos import network
from tests.chaos.network import CLIENT4, CLIENT6, LINK, SERVER4, SERVER6, Lacking, Two, link_local
from tests.contract.matrix import exactly
from tests.daemon import ECHOCTL, SECONDS, Daemon, eventually, free_port, run

pytestmark = pytest.mark.needs_root

ALLOW: Final = 'allow = ["10.99.0.0/24", "fd00:99::/64", "fe80::/10"]'
ETH_P_ALL: Final = 3  # packet(7)
GROUP4, GROUP6, OF_LINK6 = "239.255.7.7", "ff15::7", "ff02::77"


class Packet(NamedTuple):
    """The fields of an IP packet that the options change."""

    source: str
    destination: str
    dscp: int
    ttl: int
    protocol: int
    df: bool  #: IPv4 only
    is_fragment: bool  #: IPv4 only
    payload: bytes  #: from the header of TCP or UDP on


def packet_of(data: bytes) -> Packet | None:
    """An IPv4 or IPv6 packet; None if it is another."""
    if data[0] >> 4 == 4:
        flags = int.from_bytes(data[6:8], "big")
        header = (data[0] & 15) * 4
        source, destination = (socket.inet_ntop(socket.AF_INET, data[at : at + 4]) for at in (12, 16))
        is_fragment = bool(flags & 0x3FFF)
        return Packet(
            source, destination, data[1] >> 2, data[8], data[9], bool(flags & 0x4000), is_fragment, data[header:]
        )
    if data[0] >> 4 == 6:
        source, destination = (socket.inet_ntop(socket.AF_INET6, data[at : at + 16]) for at in (8, 24))
        traffic_class = int.from_bytes(data[:4], "big") >> 20 & 255
        return Packet(source, destination, traffic_class >> 2, data[7], data[6], False, False, data[40:])
    return None


class Capture:
    """Every packet of the link, at the client's end, from the start of the block on."""

    def __init__(self, two: Two) -> None:
        with two.client.inside():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            self._socket.bind((LINK, ETH_P_ALL))

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def packets(self, protocol: int, *sources: str) -> list[Packet]:
        """The packets so far from these hosts. A reply that the client has received is one of them."""
        found = []
        while True:
            try:
                packet = packet_of(self._socket.recv(70_000, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return found
            if packet and packet.source in sources and packet.protocol == protocol:
                found.append(packet)


@pytest.fixture
def two() -> Iterator[Two]:
    """The networks of the daemon and of the client; the test is in the daemon's."""
    try:
        with network.joined() as both, both.server.inside():
            yield both
    except Lacking as lacking:
        pytest.skip(str(lacking))


def serving(listen: Iterable[str]) -> Daemon:
    """A daemon with an echo service at these addresses."""
    urls = ", ".join(f'"{url}"' for url in listen)
    return Daemon(f'[services.echo]\nlisten = [{urls}]\n{ALLOW}\n[services.whoami]\nlisten = ["udp://*:0"]\n')


def port_of(daemon: Daemon, scheme: str) -> int:
    return daemon.inet("echo", scheme)[1]


def send(two: Two, url: str, text: str = "hello", timeout: float = SECONDS) -> tuple[int, str]:
    """Run `echoctl send` in the client's network; its exit code and output."""
    with two.client.inside():
        done = run(*ECHOCTL, "send", "--timeout", str(timeout), url, text)
    return done.returncode, (done.stdout or done.stderr).decode()


@pytest.mark.parametrize(("scheme", "protocol"), [("udp", socket.IPPROTO_UDP), ("tcp", socket.IPPROTO_TCP)])
def test_dscp_and_ttl_of_both_ends(two, scheme, protocol):
    with serving([f"{scheme}://*:0?dscp=ef&ttl=7"]) as daemon, Capture(two) as capture:
        for server, client in ((SERVER4, CLIENT4), (f"[{SERVER6}]", CLIENT6)):
            url = f"{scheme}://{server}:{port_of(daemon, scheme)}?dscp=af41&ttl=5"
            assert send(two, url) == (0, "hello")
            sent, received = [], []
            for packet in capture.packets(protocol, client, server.strip("[]")):
                (sent if packet.source == client else received).append(packet)
            assert {(packet.dscp, packet.ttl) for packet in sent} == {(34, 5)}
            # The kernel answers the last FIN after the daemon's socket is closed, without its options.
            assert {(packet.dscp, packet.ttl) for packet in received if has_data(packet)} == {(46, 7)}


def has_data(packet: Packet) -> bool:
    """Whether a packet of TCP or UDP has the reply in it."""
    return b"hello" in packet.payload


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_interface_restricts_a_listener(two, scheme):
    """Requests by a second link, and by loopback, are refused."""
    two.server.ip("link", "add", "eth9", "type", "veth", "peer", "name", "eth9", "netns", two.client.path)
    for one, host in zip(two, ("10.99.9.1/24", "10.99.9.2/24"), strict=True):
        one.ip("link", "set", "eth9", "up")
        one.add(host, device="eth9")
    with serving([f"{scheme}://*:0?interface={LINK}"]) as daemon:
        port = port_of(daemon, scheme)
        assert send(two, f"{scheme}://{SERVER4}:{port}") == (0, "hello")
        for host in ("10.99.9.1", "127.0.0.1"):
            url = f"{scheme}://{host}:{port}"
            code, said = send(two, url) if host != "127.0.0.1" else local(url)
            assert (code, said) == (1, f"echoctl: {url}: connection refused (ECONNREFUSED)\n")


def has_read(two: Two, count: int) -> bool:
    """Whether the daemon reads so many datagrams in time: the kernel counts them when a process takes them."""
    return eventually(lambda: two.server.figure("Udp", "InDatagrams") >= count)


def local(url: str) -> tuple[int, str]:
    """Run `echoctl send` in the daemon's network; its exit code and output."""
    done = run(*ECHOCTL, "send", "--timeout", str(SECONDS), url, "hello")
    return done.returncode, (done.stdout or done.stderr).decode()


@pytest.mark.parametrize(("scheme", "protocol"), [("udp", socket.IPPROTO_UDP), ("tcp", socket.IPPROTO_TCP)])
def test_a_link_local_listener_replies_from_its_address(two, scheme, protocol):
    ours, theirs = link_local(two.server), link_local(two.client)
    with serving([f"{scheme}://[{ours}%{LINK}]:0"]) as daemon, Capture(two) as capture:
        assert daemon.url("echo", scheme).startswith(f"{scheme}://[{ours}%{LINK}]:")
        assert send(two, f"{scheme}://[{ours}%{LINK}]:{port_of(daemon, scheme)}") == (0, "hello")
        [reply] = [packet for packet in capture.packets(protocol, ours) if has_data(packet)]
        assert reply.destination == theirs


@pytest.mark.parametrize(("host", "group", "source"), [
    (GROUP4, GROUP4, SERVER4),
    (f"[{GROUP6}]", GROUP6, SERVER6),
    (f"[{OF_LINK6}%{LINK}]", OF_LINK6, ""),
])  # fmt: skip
def test_a_group_is_joined_and_replies_leave_from_a_unicast_address(two, host, group, source):
    options = "" if "%" in host else f"?interface={LINK}"
    source = source or link_local(two.server)
    with Capture(two) as capture, serving([f"udp://{host}:0{options}", "udp://*:0"]) as daemon:
        port = port_of(daemon, f"udp://{host[:5]}")
        code, said = send(two, f"udp://{host}:{port}{options}", "hello, group")
        assert (code, said) == (0, "hello, group")
        [reply] = [packet for packet in capture.packets(socket.IPPROTO_UDP, source) if has_data(packet)]
        assert (reply.ttl, reply.df) == (1, False)
        assert not reply.destination.startswith(("239.", "ff"))
        unnamed = daemon.inet("echo", "udp://*")[1]
        assert send(two, f"udp://{host}:{unnamed}{options}", timeout=0.5)[0] == 1
        daemon.stop()
        counters = daemon.counters()
    assert counters[f"echo {daemon.url('echo', f'udp://{host[:5]}')}"]["datagrams_out"] == 1


def test_a_group_of_another_interface_gets_no_reply(two):
    with serving([f"udp://{GROUP4}:0?interface=lo"]) as daemon:
        url = f"udp://{GROUP4}:{port_of(daemon, 'udp')}?interface={LINK}"
        assert send(two, url, timeout=0.5)[0] == 1
        daemon.stop()
        assert daemon.counters()[f"echo {daemon.url('echo', 'udp')}"].get("datagrams_in", 0) == 0


def test_a_group_waits_for_its_interface(two):
    port = free_port()
    with Daemon(
        f'[services.echo]\nlisten = ["tcp://*:0", "udp://{GROUP4}:{port}?interface=eth9&retry=200ms"]\n'
        'allow = ["10.99.9.0/24"]\n'
    ) as daemon:
        daemon.stderr.wait_for("interface eth9 does not exist")
        two.server.ip("link", "add", "eth9", "type", "veth", "peer", "name", "eth9", "netns", two.client.path)
        for one, host in zip(two, ("10.99.9.1/24", "10.99.9.2/24"), strict=True):
            one.add(host, device="eth9")
            one.ip("link", "set", "eth9", "up")
        daemon.stderr.wait_for(rf"info +echo  udp://{GROUP4}:{port}$")
        assert send(two, f"udp://{GROUP4}:{port}?interface=eth9") == (0, "hello")


def test_a_host_that_is_not_allowed_gets_no_reply_from_a_group(two):
    with Daemon(f'[services.echo]\nlisten = ["udp://{GROUP4}:0?interface={LINK}"]\nallow = ["192.0.2.1"]\n') as daemon:
        url = daemon.url("echo", "udp") + f"?interface={LINK}"
        assert send(two, url, timeout=0.5)[0] == 1
        assert has_read(two, 1)
        daemon.stop()
        assert daemon.counters()[f"echo {daemon.url('echo', 'udp')}"]["refused:denied"] == 1


def test_the_ttl_of_replies_to_a_group_can_be_set(two):
    with Capture(two) as capture, serving([f"udp://{GROUP4}:0?interface={LINK}&ttl=9"]) as daemon:
        assert send(two, daemon.url("echo", "udp") + f"?interface={LINK}&ttl=3") == (0, "hello")
        packets = capture.packets(socket.IPPROTO_UDP, SERVER4, CLIENT4)
    assert [(packet.source, packet.ttl) for packet in packets] == [(CLIENT4, 3), (SERVER4, 9)]


@pytest.mark.parametrize(("df", "flag"), [("do", True), ("want", True), ("dont", False), ("", False)])
def test_the_flag_df_of_replies(two, df, flag):
    for network_ in two:
        network_.ip("link", "set", LINK, "mtu", "1400")
    option = f"?df={df}" if df else ""
    with Capture(two) as capture, serving([f"udp://{SERVER4}:0{option}"]) as daemon:
        url = f"udp://{SERVER4}:{port_of(daemon, 'udp')}"
        assert send(two, url) == (0, "hello")
        [small] = capture.packets(socket.IPPROTO_UDP, SERVER4)
        assert small.df is flag
        code, said = send(two, f"{url}?df=dont", "x" * 3000, timeout=1 if df == "do" else SECONDS)
        assert has_read(two, 2)
        packets = capture.packets(socket.IPPROTO_UDP, SERVER4)
        daemon.stop()
        refused = daemon.counters()[f"echo {daemon.url('echo', 'udp')}"].get("refused:send", 0)
    if df == "do":  # nothing larger than the MTU is sent
        assert (code, packets, refused) == (1, [], 1)
    else:
        assert (code, said, refused) == (0, "x" * 3000, 0)
        assert len(packets) == 3
        assert all(packet.is_fragment and not packet.df for packet in packets)


def test_a_client_with_df_learns_the_mtu_from_its_link(two):
    two.client.ip("link", "set", LINK, "mtu", "1400")
    with serving([f"udp://{SERVER4}:0"]) as daemon:
        url = f"udp://{SERVER4}:{port_of(daemon, 'udp')}?df=do"
        code, said = send(two, url, "x" * 3000)
    assert (code, said) == (1, f"echoctl: {url.partition('?')[0]}: message too long (EMSGSIZE)\n")


def test_data_in_the_first_packet_of_a_connection(two):
    """The first connection asks for a cookie (RFC 7413), and the second sends its data with the SYN."""
    for one in two:
        with one.inside():
            Path("/proc/sys/net/ipv4/tcp_fastopen").write_text("3")
    with Capture(two) as capture, serving([f"tcp://{SERVER4}:0?fastopen=yes"]) as daemon:
        assert "fastopen has no effect" not in daemon.log()
        url = f"tcp://{SERVER4}:{port_of(daemon, 'tcp')}?fastopen=yes"
        with_data = []
        for _ in range(2):
            assert send(two, url, "hello at once") == (0, "hello at once")
            syns = [packet for packet in capture.packets(socket.IPPROTO_TCP, CLIENT4) if packet.payload[13] & 0x12 == 2]
            with_data.append(any(b"hello at once" in packet.payload for packet in syns))
        assert with_data == [False, True]


def test_a_source_on_the_wire(two):
    two.client.add("10.99.0.77/24", device=LINK)
    with Capture(two) as capture, serving([f"tcp://{SERVER4}:0"]) as daemon:
        assert send(two, f"tcp://{SERVER4}:{port_of(daemon, 'tcp')}?source=10.99.0.77:5555") == (0, "hello")
        packets = capture.packets(socket.IPPROTO_TCP, "10.99.0.77")
    assert {struct.unpack("!H", packet.payload[:2]) for packet in packets} == {(5555,)}


def test_an_address_that_the_machine_does_not_have_yet(two):
    """`freebind` binds it, and it is reached when the machine gets it."""
    with serving(["tcp://10.99.0.99:0?freebind=yes"]) as daemon:
        port = port_of(daemon, "tcp")
        two.server.add("10.99.0.99/24", device=LINK)
        with two.client.inside(), socket.create_connection(("10.99.0.99", port), SECONDS) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
