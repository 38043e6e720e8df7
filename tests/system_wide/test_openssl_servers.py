"""echoctl against `openssl s_server` and `gnutls-serv`: the text of each error, and what works."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from echod.testing.output import Output
from echod.tls.issuing import Issued, Purpose, authority, client, issue, self_signed, server
from tests.daemon import ECHOCTL, SECONDS, free_port, run

pytestmark = pytest.mark.needs_tools

NOW = datetime.now(UTC)
CA = authority(NOW)
NAMES = ("echo.example", "127.0.0.1")


def wrong(days: int = 0, purpose: Purpose = Purpose.SERVER) -> Issued:
    return issue("echo.example", purpose, CA, NAMES, NOW + timedelta(days=days), 10)


CERTIFICATES = {
    "right": server(CA, NAMES, NOW),
    "expired": wrong(-20),
    "future": wrong(20),
    "purpose": wrong(purpose=Purpose.CLIENT),
    "self-signed": self_signed(NAMES, NOW),
    "foreign": server(authority(NOW, "another CA"), NAMES, NOW),
    "nameless": issue("echo.example", Purpose.SERVER, CA, (), NOW, 10),
    "client": client(CA, "anna", NOW),
    "stranger": client(authority(NOW, "another CA"), "anna", NOW),
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    (folder / "ca.pem").write_bytes(CA.certificate_pem)
    for name, issued in CERTIFICATES.items():
        (folder / f"{name}.pem").write_bytes(issued.certificate_pem + issued.key_pem)
    return folder


@contextmanager
def s_server(certificate: Path, *options: str | Path) -> Iterator[str]:
    """`openssl s_server -rev`, which returns each line reversed. Yields its URL."""
    port = free_port()
    words = ("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate, "-rev", *options)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    lines = Output(process.stdout)
    try:
        lines.wait_for("^ACCEPT")
        yield f"tls://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(SECONDS)
        lines.close()


def said(url: str, *words: str | Path, code: int = 1) -> str:
    """Standard error of `send`, without the address; or its output if it succeeds."""
    ended = run(*ECHOCTL, "send", *words, url, input=b"hello\n")
    assert ended.returncode == code, ended.stderr
    if not code:
        assert ended.stderr == b""
        return ended.stdout.decode()
    assert ended.stdout == b""
    text = ended.stderr.decode()
    prefix = f"echoctl: {url}: "
    assert text.startswith(prefix), text
    assert text.count("\n") == 1
    return text.removeprefix(prefix).rstrip("\n")


VERSIONS = {"1.2": ("-tls1_2",), "1.3": ("-tls1_3",)}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_verified_server_replies(pki, version):
    with s_server(pki / "right.pem", *VERSIONS[version]) as url:
        assert said(url, "--ca", pki / "ca.pem", code=0) == "olleh\n"
        assert said(url, "--ca", pki / "ca.pem", "--server-name", "echo.example", code=0) == "olleh\n"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ("expired", r"certificate expired: CN=echo\.example was valid until .* UTC \(10 days ago\); see --insecure"),
        (
            "future",
            r"certificate not yet valid: CN=echo\.example is valid from .* UTC \(in 19 days\); check the clocks;"
            r" see --insecure",
        ),
        (
            "purpose",
            "wrong certificate purpose: CN=echo.example is for TLS clients, expected TLS servers; see --insecure",
        ),
        (
            "self-signed",
            "certificate not trusted: CN=echo.example is self-signed, expected an issuer in .*/ca.pem; see --insecure",
        ),
        (
            "foreign",
            "certificate not trusted: CN=echo.example is issued by CN=another CA, expected an issuer in .*/ca.pem;"
            " see --insecure",
        ),
        (
            "nameless",
            r"wrong certificate name: CN=echo.example has no names \(subjectAltName\), expected 127.0.0.1;"
            " see --insecure",
        ),
    ],
)
def test_each_wrong_certificate_is_named(pki, version, certificate, words):
    with s_server(pki / f"{certificate}.pem", *VERSIONS[version]) as url:
        text = said(url, "--ca", pki / "ca.pem")
    assert re.fullmatch(words, text), text


def test_another_name_is_named(pki):
    with s_server(pki / "right.pem") as url:
        assert said(url, "--ca", pki / "ca.pem", "--server-name", "b.example") == (
            "wrong certificate name: presented echo.example, 127.0.0.1, expected b.example;"
            " see --server-name, --insecure"
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_certificate_is_presented_missed_or_refused(pki, version):
    with s_server(pki / "right.pem", "-Verify", "1", "-verify_return_error", "-CAfile", pki / "ca.pem",
                  *VERSIONS[version]) as url:  # fmt: skip
        trusted = ("--ca", pki / "ca.pem")
        assert said(url, *trusted, "--cert", pki / "client.pem", code=0) == "olleh\n"
        alert = "certificate_required" if version == "1.3" else "handshake_failure"
        assert said(url, *trusted) == (
            f"the server refused the handshake ({alert}): it requires a client certificate, and none was presented;"
            " see --cert, --key"
        )
        assert said(url, *trusted, "--cert", pki / "stranger.pem") == (
            "the server refused the handshake (unknown_ca): it does not accept the client certificate of"
            f" {pki}/stranger.pem"
        )


def test_a_server_with_an_old_version_is_named(pki):
    with s_server(pki / "right.pem", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0") as url:
        assert said(url, "--ca", pki / "ca.pem") == (
            "the server refused the handshake (protocol_version): it supports neither TLS 1.2 nor TLS 1.3"
        )


def test_no_common_cipher_is_named(pki):
    with s_server(pki / "right.pem", "-tls1_2", "-cipher", "AES128-SHA") as url:  # RSA, and the key is EC
        assert said(url, "--ca", pki / "ca.pem") == (
            "the server refused the handshake (handshake_failure): both sides have no cipher or no parameters in common"
        )


def test_alpn_is_agreed_or_refused(pki):
    with s_server(pki / "right.pem", "-alpn", "echo") as url:
        trusted = ("--ca", pki / "ca.pem")
        assert said(url, *trusted, "--alpn", "x,echo", code=0) == "olleh\n"
        assert said(url, *trusted, "--alpn", "x,y") == (
            "the server refused the handshake (no_application_protocol): it supports none of the offered ALPN"
            " protocols: x, y; see --alpn"
        )


def test_a_name_that_the_server_does_not_serve_is_named(pki):
    options = ("-servername", "echo.example", "-servername_fatal", "-cert2", pki / "right.pem")
    with s_server(pki / "right.pem", *options) as url:
        assert said(url, "--ca", pki / "ca.pem", "--server-name", "echo.example", code=0) == "olleh\n"
        assert said(url, "--ca", pki / "ca.pem", "--server-name", "b.example") == (
            "the server refused the handshake (unrecognized_name): it does not serve the name b.example;"
            " see --server-name"
        )
        assert said(url, "--ca", pki / "ca.pem", code=0) == "olleh\n"  # an IP address is not sent as a name


def test_ping_connect_and_talk(pki):
    with s_server(pki / "right.pem") as url:
        ended = run(*ECHOCTL, "ping", "--connect", "-c", "2", "-i", "50ms", "--ca", pki / "ca.pem", url)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert b"2 tried, 2 connected, 0 lost" in ended.stdout
        ended = run(*ECHOCTL, "talk", "-v", "--ca", pki / "ca.pem", url, input=b"hello\nexit\n")
        assert (ended.returncode, ended.stdout) == (0, b"olleh\n")
        assert b"* certificate verified: " in ended.stderr


@pytest.mark.skipif(not shutil.which("gnutls-serv"), reason="needs gnutls-serv")
def test_gnutls_returns_everything_after_close_notify(pki):
    port = free_port()
    words = ("gnutls-serv", "--echo", "--port", str(port), "--x509certfile", pki / "right.pem", "--x509keyfile",
             pki / "right.pem", "--disable-client-cert")  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    lines = Output(process.stdout)
    try:
        lines.wait_for("listening|ready")
        url = f"tls://127.0.0.1:{port}"
        assert said(url, "--ca", pki / "ca.pem", code=0) == "hello\n"
        assert said(url).startswith("certificate not trusted: CN=echo.example is issued by CN=echod test CA, ")
    finally:
        process.terminate()
        process.wait(SECONDS)
        lines.close()
