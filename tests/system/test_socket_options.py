"""Options of addresses that set options of sockets, of the daemon and of echoctl, as the other end sees them."""

import json
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

import pytest

from echod.address import parse
from echod.testing.announced import inet_of
from echod.transports.sockets import IPPROTO_MPTCP
from echod.transports.tcp import TCP, TCP_FASTOPEN
from tests.contract.matrix import MIB, data, exactly, rest
from tests.daemon import ECHOCTL, ECHOD, SECONDS, Daemon, environment, free_port, run
from tests.fork_server import Popen

SOL_MPTCP, MPTCP_INFO, FALLBACK = 284, 1, 1  # <linux/mptcp.h>
multipath = pytest.mark.skipif(
    not Path("/proc/sys/net/mptcp/enabled").exists() or Path("/proc/sys/net/mptcp/enabled").read_text().strip() != "1",
    reason="the kernel has no Multipath TCP",
)


def echoctl(*words: str) -> "subprocess.CompletedProcess[bytes]":
    """Run echoctl with an empty standard input."""
    return run(*ECHOCTL, *words, env=environment(), stdin=subprocess.DEVNULL)


def whoami(url: str) -> dict[str, Any]:
    """The reply of a whoami service to echoctl."""
    done = echoctl("send", url, "x")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def is_multipath(connection: socket.socket) -> bool:
    """Whether both ends of a connection use Multipath TCP: it has not fallen back to TCP."""
    try:
        info = connection.getsockopt(SOL_MPTCP, MPTCP_INFO, 200)
    except OSError:
        return False
    return not int.from_bytes(info[8:12], sys.byteorder) & FALLBACK


@pytest.fixture(scope="module")
def daemon():
    with Daemon(listen=("whoami=tcp://127.0.0.1:0", "whoami=udp://127.0.0.1:0", "whoami=udp://[::1]:0")) as running:
        yield running


@multipath
def test_a_listener_with_mptcp_serves_both_kinds_of_clients():
    with Daemon(listen=("echo=tcp://127.0.0.1:0?mptcp=yes", "upper=tcp://127.0.0.1:0")) as daemon:
        for service, protocol, both in (
            ("echo", IPPROTO_MPTCP, True),
            ("echo", socket.IPPROTO_TCP, False),
            ("upper", IPPROTO_MPTCP, False),
        ):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as client:
                client.settimeout(SECONDS)
                client.connect(daemon.inet(service, "tcp"))
                client.sendall(data()[:1000])
                assert exactly(client, 1000) in (data()[:1000], data()[:1000].upper())
                assert is_multipath(client) is both


@multipath
@pytest.mark.parametrize("plane", ["auto", "off"])
def test_a_long_stream_over_mptcp_comes_back_whole(plane):
    config = f'[daemon]\nplane = "{plane}"\n[services.echo]\nlisten = ["tcp://127.0.0.1:0?mptcp=yes"]\n'
    with Daemon(config) as daemon, socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as client:
        client.settimeout(SECONDS)
        client.connect(daemon.inet("echo", "tcp"))

        def upload() -> None:
            client.sendall(data()[: 4 * MIB])
            client.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=upload)
        sending.start()
        assert rest(client) == data()[: 4 * MIB]
        sending.join()
        assert is_multipath(client)


@multipath
@pytest.mark.parametrize("command", ["send", "ping"])
def test_a_client_with_mptcp(command):
    words = {"send": ["--timeout", "10"], "ping": ["--connect", "-c", "1"]}[command]
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(SECONDS)
        url = f"tcp://127.0.0.1:{listening.getsockname()[1]}?mptcp=yes"
        program = [*ECHOCTL, command, *words, url, *(["x"] if command == "send" else [])]
        with Popen(program, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            with listening.accept()[0] as accepted:
                accepted.settimeout(SECONDS)
                if command == "send":
                    assert accepted.recv(10) == b"x"
                assert is_multipath(accepted)
            process.communicate(timeout=SECONDS)
        assert process.returncode == 0


def test_an_option_that_the_kernel_refuses_is_one_line():
    """The kernel has no IP_TTL of Multipath TCP; in a network namespace without it, no socket at all."""
    done = run(*ECHOD, "--listen", "echo=tcp://127.0.0.1:0?mptcp=yes&ttl=3", env=environment())
    assert done.returncode == 71
    assert done.stderr.decode().startswith("echod: tcp://127.0.0.1:0: ")
    assert done.stderr.decode().rstrip().endswith(")")
    assert "ttl=3: " in done.stderr.decode() or "mptcp=yes: " in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_fastopen_of_a_listener_has_its_backlog():
    for options, expected in (("?fastopen=yes&backlog=37", 37), ("", 0), ("?fastopen=no", 0)):
        [bound] = TCP().bind(None, parse(f"tcp://127.0.0.1:0{options}"))
        with bound:
            assert bound.getsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN) == expected


def test_fastopen_without_the_kernel_is_served_with_a_warning():
    enabled = int(Path("/proc/sys/net/ipv4/tcp_fastopen").read_text()) & 2
    with Daemon(listen=("echo=tcp://127.0.0.1:0?fastopen=yes",)) as daemon:
        done = echoctl("send", daemon.url("echo", "tcp") + "?fastopen=yes", "hello")
        assert (done.returncode, done.stdout) == (0, b"hello")
        assert ("fastopen has no effect: net.ipv4.tcp_fastopen must include 2" in daemon.log()) is not enabled


@pytest.mark.parametrize(("host", "level", "option", "received"), [
    ("127.0.0.1", socket.IPPROTO_IP, 12, 2),  # IP_RECVTTL, IP_TTL
    ("[::1]", socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, socket.IPV6_HOPLIMIT),
])  # fmt: skip
def test_ttl_of_replies_and_of_requests(host, level, option, received):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        Daemon(listen=(f"whoami=udp://{host}:0?ttl=9", "echo=tcp://127.0.0.1:0?ttl=8")) as daemon,
        socket.socket(family, socket.SOCK_DGRAM) as client,
        socket.create_connection(daemon.inet("echo", "tcp"), SECONDS) as stream,
    ):
        client.settimeout(SECONDS)
        client.setsockopt(level, option, 1)
        client.connect(daemon.inet("whoami", "udp"))
        client.send(b"x" * 500)
        [(*_, value)] = client.recvmsg(2000, 100)[1]
        assert struct.unpack("i", value) == (9,)
        assert whoami(daemon.url("whoami", "udp") + "?ttl=7")["ttl"] == 7
        stream.sendall(b"hello")
        assert exactly(stream, 5) == b"hello"


def test_v6only_decides_whether_ipv4_clients_are_served():
    hosts = {"echo": "[::]:{}", "upper": "[::]:{}?v6only=no", "ack": "*:{}?v6only=yes", "qotd": "*:{}"}
    # Not port 0: the daemon of another test could get the same port of 127.0.0.1.
    ports = {service: free_port() for service in hosts}
    listen = [f"{service}=tcp://{host.format(ports[service])}" for service, host in hosts.items()]
    with Daemon(listen=listen):
        served = {}
        for service, port in ports.items():
            socket.create_connection(("::1", port), SECONDS).close()
            try:
                socket.create_connection(("127.0.0.1", port), SECONDS).close()
            except ConnectionRefusedError:
                served[service] = False
            else:
                served[service] = True
    assert served == {"echo": False, "upper": True, "ack": False, "qotd": True}


def test_a_reload_changes_ttl_and_keeps_the_socket():
    config = '[services.whoami]\nlisten = ["udp://127.0.0.1:{}{}", "tcp://*:0?mptcp=yes&backlog={}"]\n'
    port = free_port()
    with (
        Daemon(config.format(port, "?ttl=9", 5)) as daemon,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(SECONDS)
        client.setsockopt(socket.IPPROTO_IP, 12, 1)
        client.connect(("127.0.0.1", port))
        default = client.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
        for number, (options, expected) in enumerate((("?ttl=9", 9), ("?ttl=8", 8), ("", default), ("?ttl=7", 7))):
            (daemon.dir / "echod.toml").write_text(config.format(port, options, 6 + number))
            daemon.send_signal(signal.SIGHUP)
            daemon.stderr.wait_for(rf"~ whoami tcp://\*:0\?mptcp=yes&backlog={6 + number}")
            client.send(b"x" * 500)
            [(*_, value)] = client.recvmsg(2000, 100)[1]
            assert struct.unpack("i", value) == (expected,)


def test_ttl_of_accepted_connections():
    [bound] = TCP().bind(None, parse("tcp://127.0.0.1:0?ttl=8"))
    with bound, socket.create_connection(bound.getsockname(), SECONDS):
        bound.settimeout(SECONDS)
        with bound.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 8


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_client_takes_the_first_free_port_of_its_source(daemon, scheme):
    kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[scheme]
    url = daemon.url("whoami", f"{scheme}://127")
    assert whoami(f"{url}?source=127.0.0.3")["remote_address"] == "127.0.0.3"
    port = free_port(3)
    with socket.socket(type=kind) as taken:
        taken.bind(("127.0.0.2", port))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        told = whoami(f"{url}?source=127.0.0.2:{port}-{port + 2}")
        assert (told["remote_address"], told["remote_port"]) == ("127.0.0.2", port + 1)
        for source, why in (
            (f"127.0.0.2:{port}", f"source=127.0.0.2:{port}: address already in use (EADDRINUSE)"),
            ("192.0.2.77", "source=192.0.2.77: cannot assign requested address (EADDRNOTAVAIL)"),
            ("[::1]", "source=::1 is an address of the other IP version"),
        ):
            done = echoctl("send", f"{url}?source={source}", "x")
            assert done.returncode == 1
            assert why in done.stderr.decode()
            assert done.stderr.count(b"\n") == 1


def test_a_probe_of_connecting_uses_the_source():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SECONDS)
        url = f"tcp://127.0.0.1:{listening.getsockname()[1]}?source=127.0.0.4"
        with Popen(
            [*ECHOCTL, "ping", "--connect", "-c", "1", url], env=environment(), stdout=subprocess.DEVNULL
        ) as process:
            accepted, remote = listening.accept()
            accepted.close()
            assert process.wait(SECONDS) == 0
    assert remote[0] == "127.0.0.4"


def test_a_name_is_tried_in_the_family_of_the_source():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SECONDS)
        url = f"tcp://localhost:{listening.getsockname()[1]}?source=127.0.0.5"
        with Popen([*ECHOCTL, "send", url, "x"], env=environment(), stdout=subprocess.DEVNULL) as process:
            accepted, remote = listening.accept()
            with accepted:
                accepted.settimeout(SECONDS)
                assert rest(accepted) == b"x"
            assert process.wait(SECONDS) == 0
    assert remote[0] == "127.0.0.5"


def test_a_client_with_df_and_dscp(daemon):
    told = whoami(daemon.url("whoami", "udp://127") + "?dscp=ef&df=do")
    assert told["dscp"] == 46


GROUP: Final = "udp://239.255.77.7:0?interface=lo"


def test_a_group_gets_replies_from_a_unicast_address_and_none_that_is_larger():
    listen = (f"echo={GROUP}", f"whoami={GROUP}", "upper=udp://*:0")
    with Daemon(listen=listen) as daemon:
        echo, whoami_ = daemon.url("echo", "udp"), daemon.url("whoami", "udp")
        source = "?interface=lo&source=127.0.0.1"
        assert echo.startswith("udp://239.255.77.7:")
        assert echoctl("send", f"{echo}{source}", "hello").stdout == b"hello"
        short = echoctl("send", "--timeout", "0.5", f"{whoami_}{source}", "x")
        assert (short.returncode, short.stdout) == (1, b"")
        told = json.loads(echoctl("send", f"{whoami_}{source}", "x" * 400).stdout)
        assert (told["local_address"], told["remote_address"], told["ttl"]) == ("127.0.0.1", "127.0.0.1", 1)
        unnamed = f"udp://239.255.77.7:{inet_of(daemon.url('upper', 'udp'))[1]}"
        assert echoctl("send", "--timeout", "0.5", f"{unnamed}{source}", "hello").returncode == 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(SECONDS)
            client.bind(("127.0.0.1", 0))
            client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            client.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
            client.sendto(b"hello", inet_of(echo))
            data, [(*_, ttl)], _, name = client.recvmsg(100, 100)
        assert (data, name, struct.unpack("i", ttl)) == (b"hello", ("127.0.0.1", inet_of(echo)[1]), (1,))
        daemon.stop()
        counters = daemon.counters()
    assert counters[f"whoami {whoami_}"]["refused:larger"] == 1
    assert counters[f"echo {echo}"]["datagrams_out"] == 2


def test_a_group_that_cannot_be_joined_is_one_line():
    for url, why in (
        ("udp://239.1.2.3:0?interface=nosuch0", "interface nosuch0 does not exist (ENODEV)"),
        ("udp://[ff02::7%nosuch0]:0", "interface nosuch0 does not exist (ENODEV)"),
    ):
        done = run(*ECHOD, "--listen", f"echo={url}", env=environment())
        assert (done.returncode, done.stderr.decode()) == (71, f"echod: {url.partition('?')[0]}: {why}\n")
    done = run(*ECHOD, "--listen", "echo=udp://[ff02::7]:7", env=environment())
    assert "a link-local address needs its interface; write [ff02::7%eth0]" in done.stderr.decode()
