"""`echoctl certificates` through OpenSSL's own programs."""

import subprocess

import pytest

from tests.daemon import ECHOCTL, SECONDS, run

pytestmark = pytest.mark.needs_tools


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates") / "pki"
    ended = run(*ECHOCTL, "certificates", folder, "echo.example", "*.echo.example", "192.0.2.7", "2001:db8::7")
    assert ended.returncode == 0, ended.stderr
    return folder


def openssl(*words):
    return subprocess.run(("openssl", *words), capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("server.pem", ("-purpose", "sslserver", "-verify_hostname", "echo.example")),
        ("server.pem", ("-purpose", "sslserver", "-verify_hostname", "www.echo.example")),
        ("server.pem", ("-purpose", "sslserver", "-verify_ip", "192.0.2.7")),
        ("server.pem", ("-purpose", "sslserver", "-verify_ip", "2001:db8::7")),
        ("client.pem", ("-purpose", "sslclient")),
    ],
    ids=["name", "wildcard", "ipv4", "ipv6", "client"],
)
def test_openssl_verifies_each_certificate_strictly(pki, file, words):
    said = openssl("verify", "-x509_strict", "-CAfile", pki / "ca.pem", *words, pki / file)
    assert (said.returncode, said.stdout) == (0, f"{pki / file}: OK\n"), said.stderr


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("server.pem", ("-purpose", "sslclient")),
        ("client.pem", ("-purpose", "sslserver")),
        ("server.pem", ("-verify_hostname", "a.b.echo.example")),
        ("server.pem", ("-verify_ip", "192.0.2.8")),
    ],
    ids=["server-as-client", "client-as-server", "another-name", "another-address"],
)
def test_openssl_refuses_another_purpose_or_name(pki, file, words):
    assert openssl("verify", "-x509_strict", "-CAfile", pki / "ca.pem", *words, pki / file).returncode == 2


def test_openssl_prints_the_extensions(pki):
    shown = openssl("x509", "-in", pki / "server.pem", "-noout", "-text").stdout
    assert "DNS:echo.example, DNS:*.echo.example, IP Address:192.0.2.7" in shown
    assert "ASN1 OID: prime256v1" in shown
    assert "TLS Web Server Authentication" in shown
    shown = openssl("x509", "-in", pki / "ca.pem", "-noout", "-text").stdout
    assert "CA:TRUE\n" in shown, "it signs authorities too, for --wrong"
    assert "Certificate Sign, CRL Sign" in shown


def test_openssl_reads_the_keys(pki):
    for name in ("ca", "server", "client"):
        assert openssl("pkey", "-in", pki / f"{name}-key.pem", "-check", "-noout").stdout == "Key is valid\n"
