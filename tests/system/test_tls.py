"""TLS as the daemon serves it: certificates over reloads, hostile clients, the end of a connection, and the log."""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from echod.client.admin import RequestRefused
from echod.tls import issuing
from tests.contract.matrix import data, exactly, rest
from tests.daemon import ECHOD, SECONDS, Daemon, eventually, free_port, run
from tests.system.test_reload import Reloaded
from tests.tls import V12, V13, TlsSocket, authority, client_context
from tests.unit.test_daemon_landlock import there_is_landlock

ALERT = bytes.fromhex("15 0301 0002 020a")
NOW = datetime.now(UTC)
CONFIG = """
[daemon]
drain = "30s"
[admin]
listen = ["unix://{dir}/admin.sock?mode=0600"]
[services.echo]
listen = ["tls://127.0.0.1:0"]
[services.echo.tls]
certificate = "cert.pem"
key = "key.pem"
[services.echo.limits]
handshake = "1m"
"""
OTHERS = """
[services.whoami]
listen = ["tls://127.0.0.1:0"]
[services.whoami.tls]
certificate = "self-signed"
client-ca = "ca.pem"
client = "optional"
alpn = ["echo"]
[services.daytime]
listen = ["tls://127.0.0.1:0"]
[services.daytime.tls]
certificate = "self-signed"
"""


def issue(*names, begin=NOW, days=90):
    return issuing.server(authority(), names or ["localhost"], begin, days)


class Server(Reloaded):
    """A daemon with a certificate for localhost; its file is like that of test_reload."""

    def __init__(self, config: str = CONFIG, **options) -> None:
        Daemon.__init__(self, config, **options)
        self.install(issue())
        (self.dir / "ca.pem").write_bytes(authority().certificate_pem)
        self.clients = ExitStack()

    def install(self, made: issuing.Issued) -> None:
        """Write the files of a certificate, as a renewal does."""
        (self.dir / "cert.pem").write_bytes(made.certificate_pem)
        (self.dir / "key.pem").write_bytes(made.key_pem)

    def plain(self, service: str = "echo") -> socket.socket:
        return self.clients.enter_context(socket.create_connection(self.inet(service, "tls"), SECONDS))

    def client(self, service: str = "echo", context: ssl.SSLContext | None = None, **options) -> TlsSocket:
        return TlsSocket(self.plain(service), context, **options)

    def close(self) -> None:
        self.clients.close()
        super().close()

    def fingerprint(self) -> str:
        """Of the certificate that a new client gets."""
        client = self.client()
        certificate = client.tls.getpeercert(binary_form=True)
        client.close()
        return sha256(certificate or b"").hexdigest()

    def listener(self, service: str = "echo") -> dict[str, Any]:
        """The state of a service's listener."""
        [found] = [one for one in self.ask("/api/status")["services"] if one["name"] == service]
        [listener] = found["listeners"]
        assert isinstance(listener, dict)
        return listener

    def closed(self, reason: str) -> int:
        """How many connections of echo were closed for this reason."""
        count = self.listener()["closed"].get(reason, 0)
        assert isinstance(count, int)
        return count


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One daemon for the tests that leave it as it was."""
    with Server(CONFIG + OTHERS) as running:
        yield running


def fingerprint_of(made: issuing.Issued) -> str:
    return made.certificate.fingerprint(SHA256()).hex()


def served(client: TlsSocket, text: bytes = b"still here?") -> bool:
    client.sendall(text)
    return exactly(client, len(text)) == text


# certificates


def test_a_reload_uses_renewed_certificates_for_new_connections_only(server):
    old = server.fingerprint()
    client = server.client()
    assert server.reload()["changed"] == 0
    renewed = issue()
    server.install(renewed)
    verdict = server.reload()
    assert (verdict["opened"], verdict["closed"], verdict["changes"]) == (0, 0, ["~ echo"])
    assert server.fingerprint() == fingerprint_of(renewed) != old
    assert served(client)
    client.shutdown(socket.SHUT_WR)
    assert rest(client) == b""
    assert not client.truncated


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda one: (one.dir / "key.pem").unlink(), r"key: .*key\.pem: .*\(ENOENT\)"),
        (
            lambda one: (one.dir / "cert.pem").write_text("hello"),
            r"certificate: .*cert\.pem: the file has no certificate in PEM",
        ),
        (
            lambda one: (one.dir / "key.pem").write_bytes(issue().key_pem),
            r"key: .*key\.pem: the key does not belong to",
        ),
        (
            lambda one: one.install(issue(begin=NOW - timedelta(days=91))),
            r"certificate: .*cert\.pem: the certificate expired on",
        ),
    ],
    ids=["missing", "damaged", "mismatch", "expired"],
)
def test_a_wrong_certificate_is_refused_and_the_old_one_stays(server, spoil, words):
    old, client = server.fingerprint(), server.client()
    spoil(server)
    with pytest.raises(RequestRefused) as caught:
        server.reload()
    [error] = caught.value.answer["errors"]
    assert re.search(r"services\.echo\.tls\." + words, error)
    assert server.fingerprint() == old
    assert served(client)
    server.install(issue())
    assert server.reload()["reloaded"]
    assert server.fingerprint() != old


@pytest.mark.parametrize("plane", ["auto", "off"])
def test_open_connections_continue_when_a_reload_replaces_the_listener(plane):
    """Some have sent a part of a record, and some do not read: bytes are pending in every place."""
    with Server(CONFIG.replace("[daemon]", f'[daemon]\nplane = "{plane}"')) as server:
        contexts = [client_context(version) for version in (V12, V13)] * 3
        clients = [server.client("echo", context) for context in contexts]
        for client in clients:
            assert served(client, b"before")
        cut = {}
        for number, client in enumerate(clients):
            if number % 3 == 1:
                client.sendall(b"x" * 300_000)
            if number % 3 == 2:
                client.tls.write(b"in two parts")
                cut[number] = client._outgoing.read()
                client.socket.sendall(cut[number][:9])
        server.write(('handshake = "1m"', 'buffer = "32KiB"'))
        assert server.reload()["changed"] == 1
        server.write(('buffer = "32KiB"', 'buffer = "48KiB"'))
        assert server.reload()["changed"] == 1
        for number, client in enumerate(clients):
            if number % 3 == 1:
                assert exactly(client, 300_000) == b"x" * 300_000
            if number % 3 == 2:
                client.socket.sendall(cut[number][9:])
                assert exactly(client, 12) == b"in two parts"
            assert served(client, b"after")
            client.shutdown(socket.SHUT_WR)
            assert rest(client) == b""
            assert not client.truncated
        assert eventually(lambda: server.listener()["open"] == 0)
        listener = server.listener()
        assert listener["closed"] == {"done": len(clients)}
        assert listener["bytes_in"] == listener["bytes_out"] == 6 * 11 + 2 * 300_000 + 2 * 12


def test_an_open_port_changes_between_tcp_and_tls():
    port = free_port()
    tls, tcp = f"tls://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"
    table = '[services.echo.tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
    with Server(CONFIG.replace("tls://127.0.0.1:0", tls)) as server:
        over_tls = server.client()
        server.write((tls, tcp), (table, ""))
        verdict = server.reload()
        assert (verdict["opened"], verdict["closed"]) == (0, 0)
        assert f"~ echo {tcp}" in verdict["changes"]
        with socket.create_connection(("127.0.0.1", port), SECONDS) as clear:
            clear.sendall(b"in the clear")
            assert exactly(clear, 12) == b"in the clear"
        server.write((tcp, tls), add=table)
        assert f"~ echo {tls}" in server.reload()["changes"]
        assert served(server.client())
        assert not server.log().count("Traceback")
        over_tls.close()


def test_the_check_of_a_configuration_reads_certificates(tmp_path):
    (tmp_path / "echod.toml").write_text(
        '[services.echo]\nlisten = ["tls://*:0"]\n[services.echo.tls]\ncertificate = "a.pem"\n'
    )
    ended = run(*ECHOD, "--check-config", "--config", str(tmp_path / "echod.toml"))
    assert ended.returncode == 78
    assert b"services.echo.tls.certificate: " in ended.stderr
    assert b"a.pem: no such file or directory (ENOENT)" in ended.stderr


def test_listen_makes_a_certificate_and_plain_text_is_logged_with_its_bytes():
    with Daemon(listen=["echo=tls://127.0.0.1:0"]) as daemon:
        line = daemon.stderr.wait_for(r"self-signed certificate for 127\.0\.0\.1, localhost.* \(SHA-256 (\w+)\)")
        with socket.create_connection(daemon.inet("echo", "tls"), SECONDS) as opened:
            client = TlsSocket(opened)
            assert sha256(client.tls.getpeercert(binary_form=True) or b"").hexdigest() == line[1]
            assert served(client)
        with socket.create_connection(daemon.inet("echo", "tls"), SECONDS) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: \x1b[2J\r\n\r\n")
            plain.shutdown(socket.SHUT_WR)
            assert rest(plain) == ALERT
        words = "failed: it does not speak TLS: it sent the text 'GET / HTTP/1.1'"
        daemon.stderr.wait_for(r"info  echo  tls://\S+ handshake with 127\.0\.0\.1:\d+ " + words)
        assert daemon.counters()[f"echo {daemon.url('echo', 'tls')}"]["closed:handshake"] == 1


@pytest.mark.skipif(not there_is_landlock(), reason="this kernel has no Landlock")
def test_a_confined_daemon_reads_renewed_certificates(tmp_path):
    """As certbot does it: the files are links, and a renewal writes a new target and changes the link."""
    live, archive = tmp_path / "live", tmp_path / "archive"
    live.mkdir()
    archive.mkdir()

    def renew(number: int) -> issuing.Issued:
        made: issuing.Issued = issue()
        (archive / f"{number}.pem").write_bytes(made.certificate_pem + made.key_pem)
        with suppress(FileNotFoundError):
            (live / "cert.pem").unlink()
        (live / "cert.pem").symlink_to(archive / f"{number}.pem")
        return made

    renew(1)
    config = CONFIG.replace("[daemon]", "[daemon]\nlandlock = true").replace('key = "key.pem"\n', "")
    with Server(config.replace('"cert.pem"', f'"{live}/cert.pem"')) as server:
        assert "confined by Landlock" in server.log()
        renewed = renew(2)
        assert server.reload()["reloaded"]
        assert server.fingerprint() == fingerprint_of(renewed)


# what the service learns


def test_whoami_shows_the_client_certificate(server, tmp_path):
    client = issuing.client(authority(), "alice", NOW)
    (tmp_path / "client.pem").write_bytes(client.certificate_pem + client.key_pem)
    context = client_context(V12)
    context.load_cert_chain(tmp_path / "client.pem")
    context.set_alpn_protocols(["other", "echo"])
    with_certificate = json.loads(rest(server.client("whoami", context, name="whoami.example")))["tls"]
    assert with_certificate.pop("certificate") | {"until": ""} == {
        "subject": "CN=alice",
        "issuer": "CN=echod test CA",
        "names": [],
        "until": "",
        "sha256": fingerprint_of(client),
    }
    assert with_certificate == {
        "version": "TLSv1.2",
        "cipher": with_certificate["cipher"],
        "server_name": "whoami.example",
        "alpn": "echo",
        "resumed": False,
    }
    without = json.loads(rest(server.client("whoami")))["tls"]
    assert (without["version"], without["alpn"], "certificate" in without) == ("TLSv1.3", None, False)


def test_a_session_is_resumed(server):
    for version in (V12, V13):
        context = client_context(version)
        first = server.client("whoami", context)
        assert not json.loads(rest(first))["tls"]["resumed"]
        again = server.client("whoami", context, session=first.tls.session)
        assert json.loads(rest(again))["tls"]["resumed"]


def test_a_handshake_takes_one_round_trip(server):
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(to_client, to_server, server_hostname="localhost")
    sent = 0
    with socket.create_connection(server.inet("echo", "tls"), SECONDS) as opened:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                if to_server.pending:
                    sent += 1
                    opened.sendall(to_server.read())
                to_client.write(opened.recv(65_536))
    assert sent == 1


# hostile clients


def hello() -> bytes:
    """A ClientHello."""
    unused, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        client_context().wrap_bio(unused, sent, server_hostname="localhost").do_handshake()
    return sent.read()


def test_half_handshakes_end_at_the_deadline_whatever_trickles_in():
    """Clients that are silent, that send one byte after the other, and that send a whole hello and nothing more."""
    with Server(CONFIG.replace('"1m"', '"2s"')) as server:
        clients = [server.plain() for _ in range(30)]
        waiting, sent = set(clients), 0
        for client in clients[20:]:
            with suppress(OSError):  # its time may be over already
                client.sendall(hello())
        while waiting:
            for client in select.select(waiting, [], [], 0.02)[0]:
                try:
                    if not client.recv(65_536):
                        waiting.remove(client)
                except ConnectionResetError:
                    waiting.remove(client)
            for client in waiting.intersection(clients[10:20]):
                with suppress(OSError):
                    client.sendall(hello()[sent : sent + 1])
            sent = min(sent + 1, 200)
        assert eventually(lambda: server.closed("handshake") == len(clients))


def test_a_client_that_ignores_close_notify_is_closed(server):
    """The daemon does not wait for an answer to its close_notify without end."""
    client = server.client("daytime")
    assert rest(client)
    assert not client.truncated
    assert eventually(lambda: server.listener("daytime")["open"] == 0)


def test_a_stop_sends_everything_and_close_notify():
    with Server() as server:
        client = server.client()
        client.sendall(data()[:200_000])
        assert exactly(client, 1)
        server.process.send_signal(signal.SIGTERM)
        assert rest(client) == data()[1:200_000]
        assert not client.truncated
        assert server.wait() == 0


@pytest.mark.parametrize("after", [b"garbage", b"\x17\x03\x03\x00\x40" + bytes(64)], ids=["text", "record"])
def test_bytes_after_close_notify_do_no_harm(server, after):
    before = server.closed("done")
    client = server.client()
    client.sendall(b"hello")
    unread = client.tls
    with suppress(ssl.SSLError):
        unread.unwrap()
    client.socket.sendall(client._outgoing.read() + after * 1000)
    client.socket.shutdown(socket.SHUT_WR)
    assert rest(client) == b"hello"
    assert not client.truncated
    assert eventually(lambda: server.closed("done") > before)


def test_a_wrong_record_gets_an_alert(server):
    before = server.closed("protocol")
    client = server.client()
    client.sendall(b"hello")
    assert exactly(client, 5) == b"hello"
    client.socket.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        client.recv(10)
    client.close()
    assert eventually(lambda: server.closed("protocol") > before)


PR_SET_MDWE = 65  # <linux/prctl.h>, Linux 6.3
MDWE = """
import ctypes, os, sys
assert not ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_tls_needs_no_memory_that_is_writable_and_executable():
    """As in a unit with MemoryDenyWriteExecute=."""
    if ctypes.CDLL(None).prctl(PR_SET_MDWE + 1, 0, 0, 0, 0) < 0:  # PR_GET_MDWE
        pytest.skip("this kernel has no PR_SET_MDWE")
    command = [sys.executable, "-c", MDWE, *ECHOD]
    with Server(CONFIG.replace("services.echo", "services.whoami"), command=command) as server:
        pid = server.process.pid
        assert os.path.exists(f"/proc/{pid}")
        assert json.loads(rest(server.client("whoami")))["tls"]["version"] == "TLSv1.3"
