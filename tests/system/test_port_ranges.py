"""Addresses with a range of ports: one line at the start, all ports or none, and reloads that change the range."""

import signal
import socket

import pytest

from tests.contract.matrix import exactly
from tests.daemon import ECHOD, SECONDS, Daemon, free_port, run

HOST = "127.0.0.31"  # of no other test


@pytest.fixture
def first() -> int:
    """The first of six consecutive free ports."""
    return free_port(6)


def says(port: int, word: bytes) -> bytes:
    """The reply of a service over TCP."""
    with socket.create_connection((HOST, port), SECONDS) as client:
        client.sendall(word)
        return exactly(client, len(word))


def opened(daemon: Daemon) -> list[str]:
    return [url for _, url in daemon.urls]


@pytest.mark.parametrize("plane", ["auto", "off"])
def test_every_port_of_a_range_is_served_and_counted(first, plane):
    config = f'[daemon]\nplane = "{plane}"\n[services.upper]\nlisten = ["tcp://{HOST}:{first}-{first + 3}"]\n'
    config += f'[services.echo]\nlisten = ["udp://{HOST}:{first}-{first + 1}"]\n'
    with Daemon(config) as daemon:
        assert opened(daemon) == [f"tcp://{HOST}:{first}-{first + 3}", f"udp://{HOST}:{first}-{first + 1}"]
        assert [says(port, b"abc") for port in range(first, first + 4)] == [b"ABC"] * 4
        assert says(first + 2, b"d") == b"D"
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(SECONDS)
            client.sendto(b"hello", (HOST, first + 1))
            assert client.recvfrom(100) == (b"hello", (HOST, first + 1))
        daemon.stop()
        counters = daemon.counters()
    assert [counters[f"upper tcp://{HOST}:{port}"].get("accepted") for port in range(first, first + 4)] == [1, 1, 2, 1]
    assert counters[f"echo udp://{HOST}:{first + 1}"]["datagrams_out"] == 1


def test_a_port_in_use_opens_none_and_is_named(first):
    with socket.create_server((HOST, first + 1)):
        done = run(*ECHOD, "--listen", f"echo=tcp://{HOST}:{first}-{first + 2}")
    assert done.returncode == 71
    [line] = done.stderr.decode().splitlines()
    assert line.startswith(f"echod: tcp://{HOST}:{first + 1}: address already in use (EADDRINUSE)")


def test_a_reload_changes_a_range_and_keeps_the_common_ports(first):
    config = '[services.echo]\nlisten = ["tcp://{}:{}-{}"]\n'
    with Daemon(config.format(HOST, first, first + 3)) as daemon:
        with socket.create_connection((HOST, first + 2), SECONDS) as client:
            client.sendall(b"before")
            assert exactly(client, 6) == b"before"
            (daemon.dir / "echod.toml").write_text(config.format(HOST, first + 2, first + 5))
            daemon.send_signal(signal.SIGHUP)
            daemon.stderr.wait_for(rf"tcp://{HOST}:{first}-{first + 1}\b")
            daemon.stderr.wait_for(rf"tcp://{HOST}:{first + 4}-{first + 5}\b")
            client.sendall(b"after")
            assert exactly(client, 5) == b"after"
        assert [says(port, b"x") for port in range(first + 2, first + 6)] == [b"x"] * 4
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, first), SECONDS)
