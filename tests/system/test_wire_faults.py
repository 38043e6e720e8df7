"""Faults of TLS and WebSocket, as clients of Python and of `websockets` see them; each daemon serves all of them."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any, get_args

import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from echod.faults.settings import TlsFault, WebSocketFault
from echod.transports.layers.websocket_faults import PINGS
from tests.daemon import SECONDS, Daemon
from tests.tls import TlsSocket, client_context
from tests.unit.test_transports_websocket import REQUEST
from tests.websocket import WebSocketClient

TLS_WORDS, WEBSOCKET_WORDS = get_args(TlsFault), get_args(WebSocketFault)


def service(name: str, kind: str, url: str, key: str, word: str, more: str = "") -> str:
    secure = f'[services.{name}.tls]\ncertificate = "self-signed"\n' if url.startswith(("tls", "wss")) else ""
    return (
        f'[services.{name}]\nkind = "{kind}"\nlisten = ["{url}"]\n{more}{secure}'
        f'[services.{name}.faults]\n{key} = "{word}"\n'
    )


@pytest.fixture(scope="module")
def daemon():
    tls = "".join(service(word, "echo", "tls://127.0.0.1:0", "tls", word) for word in TLS_WORDS)
    short = service(
        "brief", "echo", "tls://127.0.0.1:0", "tls", "stall", '[services.brief.limits]\nhandshake = "50ms"\n'
    )
    limits = '[services.{}.limits]\nmessage = "64KiB"\n'
    websocket = "".join(
        service(f"ws-{word}", "echo", f"ws://127.0.0.1:0/{word}", "websocket", word, limits.format(f"ws-{word}"))
        for word in WEBSOCKET_WORDS
    )
    secure = service("wss", "echo", "wss://127.0.0.1:0/", "websocket", "invalid-utf8")
    chosen = service("some", "echo", "tls://127.0.0.1:0", "tls", "alert").rstrip() + "\nfirst = 1\n"
    with Daemon('[daemon]\nlog-level = "debug"\n' + tls + short + websocket + secure + chosen) as daemon:
        yield daemon


def attempt(daemon: Daemon, name: str) -> str:
    """The reply to hello, or the name of the error. The daemon may reset the connection before it is returned."""
    try:
        with (
            socket.create_connection(daemon.inet(name, "tls"), SECONDS) as opened,
            client_context().wrap_socket(opened, server_hostname="localhost") as tls,
        ):
            tls.sendall(b"hello")
            return tls.recv(100).decode()
    except ssl.SSLError as error:
        return error.reason or str(error)
    except OSError as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("alert", "SSLV3_ALERT_HANDSHAKE_FAILURE"),
        ("reset", "ConnectionResetError"),
        ("plaintext", "WRONG_VERSION_NUMBER"),
        ("old-version", "UNSUPPORTED_PROTOCOL"),
        ("no-close-notify", "hello"),
    ],
)
def test_python_reports_the_fault_of_tls(daemon, word, said):
    assert attempt(daemon, word) == said


def test_a_stall_ends_at_the_time_limit_of_the_handshake(daemon):
    assert attempt(daemon, "brief") == "ConnectionResetError"


def test_grease_breaks_a_handshake(daemon):
    assert attempt(daemon, "grease") not in ("hello", "TimeoutError")


def test_only_the_first_connection_has_the_fault(daemon):
    assert attempt(daemon, "some") == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert attempt(daemon, "some") == "hello"


def test_bytes_in_tiny_records_come_back(daemon):
    opened = socket.create_connection(daemon.inet("tiny-records", "tls"), SECONDS)
    with client_context().wrap_socket(opened, server_hostname="localhost") as tls:
        tls.sendall(b"hello" * 1000)
        pieces = [tls.recv(10_000)]
        while sum(map(len, pieces)) < 5000:
            pieces.append(tls.recv(10_000))
    assert b"".join(pieces) == b"hello" * 1000
    assert len(pieces[0]) == 1


def test_the_end_without_close_notify_is_an_error(daemon):
    opened = TlsSocket(socket.create_connection(daemon.inet("no-close-notify", "tls"), SECONDS))
    opened.sendall(b"hello")
    assert opened.recv(100) == b"hello"
    opened.shutdown(socket.SHUT_WR)
    assert (opened.recv(100), opened.truncated) == (b"", True)
    opened.close()


def websocket(daemon: Daemon, word: str, **options):
    host, port = daemon.inet(f"ws-{word}", "ws")
    return connect(f"ws://{host}:{port}/{word}", open_timeout=SECONDS, close_timeout=SECONDS, **options)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("bad-accept", "Sec-WebSocket-Accept"),
        ("masked", "incorrect masking"),
        ("invalid-utf8", "utf-8"),
        ("endless-fragments", "incomplete fragmented message"),
    ],
)
def test_the_library_reports_the_fault_of_websocket(daemon, word, said):
    error: Any = None
    try:
        with websocket(daemon, word) as client:
            client.send("hello")
            client.recv(SECONDS)
    except (WebSocketException, UnicodeDecodeError) as raised:
        error = raised
    assert any(said in str(one) for one in (error, error.__cause__, error.__context__))


def test_a_close_has_a_reserved_code(daemon):
    with websocket(daemon, "bad-close-code") as client:
        client.send("hello")
        assert client.recv(SECONDS) == "hello"
        client.close()
    assert "invalid status code" in str(client.protocol.parser_exc)


def test_a_ping_gets_no_pong(daemon):
    with websocket(daemon, "no-pong", ping_interval=None) as client:
        pong = client.ping()
        client.send("hello")
        assert client.recv(SECONDS) == "hello"
        assert not pong.is_set()


def test_a_flood_of_pings_ends(daemon):
    with websocket(daemon, "ping-flood") as client:
        client.send("hello")
        assert client.recv(SECONDS) == "hello"
    with socket.create_connection(daemon.inet("ws-ping-flood", "ws"), SECONDS) as raw:
        raw.sendall(REQUEST.replace(b"/echo", b"/ping-flood"))
        came = b""
        while came.count(b"\x89\x04") < PINGS:
            came += raw.recv(65_536)
        raw.sendall(b"\x81\x81\0\0\0\0!")
        assert raw.recv(100) == b"\x81\x01!"


def test_faults_of_wss_are_those_of_websocket(daemon):
    client = WebSocketClient(daemon.inet("wss", "wss"), secure=True)
    client.send(b"hello", text=True)
    assert client.receive() == b"hello\xff"
    client.close()


def test_each_fault_is_an_event(daemon):
    attempt(daemon, "plaintext")
    with contextlib.suppress(WebSocketException), websocket(daemon, "bad-accept"):
        pass
    daemon.stderr.wait_for("plaintext.*tls")
    daemon.stderr.wait_for("ws-bad-accept.*websocket")
