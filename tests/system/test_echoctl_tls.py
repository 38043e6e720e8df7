"""echoctl over TLS: verified replies, half-close, events, times, and one line for each failure."""

from __future__ import annotations

import json
import re
import socket
from datetime import UTC, datetime

import pytest

from echod.tls.issuing import authority, server
from tests.contract.matrix import data
from tests.daemon import ECHOCTL, Daemon, run
from tests.handshakes import server_context
from tests.tls_peers import echo, echo_after_the_end, listening

NOW = datetime.now(UTC)
CA = authority(NOW)
TIME = r"(\d+\.\d{3}) ms"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ca.pem").write_bytes(CA.certificate_pem)
    return folder


@pytest.fixture(scope="module")
def context(folder):
    return server_context(folder, server(CA, ["localhost", "127.0.0.1"], NOW))


@pytest.fixture(scope="module")
def url(context):
    with listening(echo(context)) as port:
        yield f"tls://127.0.0.1:{port}"


def test_send_prints_the_reply_of_a_verified_server(url, folder):
    ended = run(*ECHOCTL, "send", "--ca", folder / "ca.pem", url, "hello")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"hello", b"")


def test_an_unknown_authority_is_one_line_with_the_address(url):
    ended = run(*ECHOCTL, "send", url, "hello")
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode() == (
        f"echoctl: {url}: certificate not trusted: CN=localhost is issued by CN=echod test CA, expected an issuer that"
        " the system trusts; see --ca, --insecure\n"
    )


def test_insecure_prints_one_warning_and_the_reply(url):
    ended = run(*ECHOCTL, "send", "--insecure", url, "hello")
    assert (ended.returncode, ended.stdout) == (0, b"hello")
    assert ended.stderr.decode() == f"echoctl: {url}: --insecure: the certificate of the server is not verified\n"


def test_another_name_is_refused_and_no_data_is_sent(context, folder):
    received = []

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            received.append(tls.recv(100))

    with listening(serve) as port:
        url = f"tls://127.0.0.1:{port}"
        ended = run(*ECHOCTL, "send", "--ca", folder / "ca.pem", "--server-name", "a.example", url, "secret")
    assert ended.stderr.decode() == (
        f"echoctl: {url}: wrong certificate name: presented localhost, 127.0.0.1, expected a.example;"
        " see --server-name, --insecure\n"
    )
    assert ended.returncode == 1
    assert b"secret" not in b"".join(received)


def test_the_rest_of_the_reply_comes_after_close_notify(context, folder):
    sent = data(1 << 20)
    with listening(echo_after_the_end(context)) as port:
        words = ("send", "--ca", folder / "ca.pem", f"tls://127.0.0.1:{port}")
        ended = run(*ECHOCTL, *words, input=sent)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout == sent


def test_a_reply_that_was_cut_off_is_printed_and_an_error(context, folder):
    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.sendall(tls.recv(100))
            tls.shutdown(socket.SHUT_WR)  # that of the socket: a FIN without close_notify
            while tls.recv(100):
                pass

    with listening(serve) as port:
        url = f"tls://127.0.0.1:{port}"
        ended = run(*ECHOCTL, "send", "--ca", folder / "ca.pem", url, "hello")
    assert (ended.returncode, ended.stdout) == (1, b"hello")
    assert ended.stderr.decode() == (
        f"echoctl: {url}: the server closed without close_notify: the reply may be incomplete (RFC 8446 section 6.1)\n"
    )


def test_talk_prints_the_events(url, folder):
    ended = run(*ECHOCTL, "talk", "-v", "--ca", folder / "ca.pem", url, input=b"hello\nexit\n")
    assert (ended.returncode, ended.stdout) == (0, b"hello\n")
    lines = ended.stderr.decode().splitlines()
    assert lines[0] == f"* connected to {url.removeprefix('tls://')}"
    assert lines[1:4] == [
        "* ClientHello sent: no server name, no ALPN",
        "* ServerHello received",
        "* Certificate received: 1 certificate",
    ]
    assert lines[-3:] == [
        f"* certificate verified: trusted by {folder}/ca.pem, for the name 127.0.0.1",
        "* close_notify sent",
        "* close_notify received",
    ]


def test_connect_times_both_handshakes(url, folder):
    words = ("ping", "--connect", "-c", "2", "-i", "50ms", "--ca", folder / "ca.pem", url)
    ended = run(*ECHOCTL, *words)
    assert (ended.returncode, ended.stderr) == (0, b"")
    lines = ended.stdout.decode().splitlines()
    for line in lines[1:3]:
        found = re.fullmatch(rf"connected to \S+: seq=\d time={TIME} tcp={TIME} tls={TIME}", line)
        assert found, line
        total, tcp, tls = map(float, found.groups())
        assert abs(total - tcp - tls) < 0.002
    assert [line.partition(" ")[0] for line in lines[-2:]] == ["tcp", "tls"]
    found = json.loads(run(*ECHOCTL, *words, "--json").stdout)
    assert set(found["tcp"]) == set(found["tls"])
    assert {"min_ms", "avg_ms", "p99_ms", "max_ms"} <= set(found["tcp"]) <= set(found)


def test_connect_ends_at_a_server_that_is_not_verified(url):
    ended = run(*ECHOCTL, "ping", "--connect", "-q", "-c", "3", url)
    assert ended.returncode == 1
    assert ended.stderr.decode().startswith(f"echoctl: {url}: certificate not trusted: CN=localhost is issued by ")
    assert "1 tried, 0 connected, 1 lost (100%)" in ended.stdout.decode()


def speak(connection: socket.socket) -> None:
    connection.sendall(b"220 mail.example ESMTP\r\n")
    while connection.recv(1000):
        pass


@pytest.mark.parametrize("command", [("send", "hello"), ("ping", "--connect", "-c", "1")], ids=["send", "ping"])
def test_a_server_without_tls_is_named(command):
    with listening(speak) as port:
        url = f"tls://127.0.0.1:{port}"
        ended = run(*ECHOCTL, command[0], url, *command[1:])
    assert ended.returncode == 1
    says = "not a TLS server: its first bytes are not a TLS record; tcp:// and ws:// have no TLS"
    assert ended.stderr.decode() == f"echoctl: {url}: {says}\n"
    assert ("seq=1 lost\n" in ended.stdout.decode(), says in ended.stdout.decode()) == (command[0] == "ping", False)


def test_a_reset_within_the_handshake_is_named():
    with listening(lambda connection: connection.recv(1)) as port:  # a close with unread input sends RST
        url = f"tls://127.0.0.1:{port}"
        ended = run(*ECHOCTL, "send", url, "hello")
        assert ended.stderr.decode() == f"echoctl: {url}: connection reset by peer (ECONNRESET)\n"
        assert ended.returncode == 1
        ended = run(*ECHOCTL, "ping", "--connect", "-c", "1", url)
        assert b"seq=1 lost: connection reset by peer (ECONNRESET)\n" in ended.stdout
        assert ended.returncode == 1


def test_a_silent_server_is_a_lost_probe_and_a_timeout():
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel accepts, and nothing answers
        url = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        ended = run(*ECHOCTL, "ping", "--connect", "-c", "1", "-W", "300ms", url)
        assert b"seq=1 lost: no reply within 300ms\n" in ended.stdout
        assert (ended.returncode, ended.stderr) == (1, b"")
        ended = run(*ECHOCTL, "send", "--timeout", "300ms", url, "hello")
        assert ended.stderr.decode() == f"echoctl: {url}: no reply within 0.3 s (ETIMEDOUT)\n"
        assert ended.returncode == 1


def test_a_file_that_cannot_be_read_is_named(url, tmp_path):
    for command in (("send", "hello"), ("ping", "--connect", "-c", "1")):
        ended = run(*ECHOCTL, command[0], "--ca", tmp_path / "none.pem", url, *command[1:])
        assert ended.stderr.decode() == f"echoctl: {url}: {tmp_path}/none.pem: no such file or directory (ENOENT)\n"
        assert ended.returncode == 1


def test_websocket_over_tls_verifies_the_server(folder, context):
    config = f"""
        [services.echo]
        listen = ["wss://127.0.0.1:0/echo"]
        [services.echo.tls]
        certificate = "{folder}/server.pem"
    """
    with Daemon(config) as daemon:
        url = daemon.url("echo", "wss")
        ended = run(*ECHOCTL, "send", "--ca", folder / "ca.pem", url, "hello")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"hello", b"")
        ended = run(*ECHOCTL, "send", "--ca", folder / "ca.pem", "--server-name", "a.example", url, "hello")
        assert ended.returncode == 1
        assert ended.stderr.decode().startswith(f"echoctl: {url}: wrong certificate name: presented localhost, ")
