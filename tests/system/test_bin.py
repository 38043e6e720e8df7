"""Kind bin in a daemon: the request in a server name, in a WebSocket query and in a datagram, and no amplification."""

from __future__ import annotations

import contextlib
import socket
import ssl

import pytest

from tests.daemon import SECONDS, Daemon
from tests.tls import TlsSocket
from tests.websocket import WebSocketClient

CONFIG = """
[services.bin]
listen = ["tls://127.0.0.1:0", "wss://127.0.0.1:0/bin", "udp://127.0.0.1:0"]
[services.bin.tls]
certificate = "self-signed"
[services.strict]
kind = "bin"
listen = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]
larger-answers-to = []
allow-faults = ["delay"]
max-delay = "1s"
"""


@pytest.fixture(scope="module")
def daemon():
    with Daemon(CONFIG) as daemon:
        yield daemon


def named(daemon: Daemon, name: str) -> TlsSocket:
    return TlsSocket(socket.create_connection(daemon.inet("bin", "tls"), SECONDS), name=name)


def test_a_server_name_chooses_the_faults_of_the_stream(daemon):
    client = named(daemon, "truncate-3.seed-1.localhost")
    client.sendall(b"hello")
    assert client.recv(100) == b"hel"
    client.close()


def test_a_server_name_chooses_the_faults_of_tls(daemon):
    opened = socket.create_connection(daemon.inet("bin", "tls"), SECONDS)
    with opened, pytest.raises(ssl.SSLError, match="ALERT_HANDSHAKE_FAILURE"):
        TlsSocket(opened, name="tls-alert.localhost")


def test_a_server_name_without_a_request_leaves_the_first_line(daemon):
    client = named(daemon, "localhost")
    client.sendall(b"size=3\nhello")
    came = b""
    while len(came) < 8:
        came += client.recv(100)
    assert came == b' !"hello'
    client.close()


def test_a_wrong_server_name_is_answered_in_one_line(daemon):
    client = named(daemon, "delay-9h.localhost")
    assert client.recv(200) == b"error: delay: at most 30s here\n"
    client.close()


def test_a_query_chooses_the_faults_of_websocket_and_of_messages(daemon):
    place = daemon.inet("bin", "wss")
    client = WebSocketClient(place, "/bin?websocket=invalid-utf8&duplicate=1", secure=True)
    client.send(b"hello", text=True)
    assert [client.receive(), client.receive()] == [b"hello\xff"] * 2
    client.close()
    client = WebSocketClient(place, "/bin?delya=1", secure=True)
    assert (client.receive() or b"").startswith(b"error: delya: unknown key; ")
    client.close()


@contextlib.contextmanager
def datagrams(daemon, service):
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.connect(daemon.inet(service, "udp"))
        yield client


def test_a_datagram_chooses_its_own_faults(daemon):
    with datagrams(daemon, "bin") as client:
        client.send(b"duplicate=1\nhello")
        assert [client.recv(100), client.recv(100)] == [b"hello"] * 2
        client.send(b"size=2KiB\n")
        assert len(client.recv(4096)) == 2048


def test_no_reply_is_larger_than_the_request_unless_the_network_is_listed(daemon):
    with datagrams(daemon, "strict") as client:
        client.send(b"size=2KiB\n")  # this reply is not sent
        client.send(b"delay=9h\n")
        assert client.recv(4096) == b"error: de"


def test_the_bounds_of_the_administrator_apply(daemon):
    for request, said in (
        (b"delay=2s", b"delay: at most 1s here"),
        (b"chunk=1", b"chunk: is not allowed here; allowed"),
    ):
        with socket.create_connection(daemon.inet("strict", "tcp"), SECONDS) as client:
            client.sendall(request + b"\n")
            assert client.recv(200).startswith(b"error: " + said)
