"""echod.tls.verification: each way in which a server is refused, and its words."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest

from echod.tls.issuing import Issued, Purpose, authority, client, issue, self_signed, server
from echod.tls.verification import (
    Expectations,
    Unfit,
    client_context,
    explained,
    ip_address,
    server_name,
    verify_name,
)
from tests.handshakes import observed, server_context, shake

NOW = datetime.now(UTC)
CA = authority(NOW)
NAMES = ("echo.example", "*.echo.example", "192.0.2.7", "2001:db8::7")
RIGHT = server(CA, NAMES, NOW)
TRUSTED = "an issuer in "


@pytest.fixture
def ca_file(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_bytes(CA.certificate_pem)
    return str(file)


def attempt(serving: ssl.SSLContext, expected: Expectations) -> str | None:
    """The error of a handshake in words, or None."""
    tls, error = shake(client_context(expected), serving, server_name(expected.host))
    if error is not None:
        return explained(error, observed(tls).transcript, expected, NOW)
    return verify_name(tls.getpeercert(binary_form=True) or b"", expected.host)


def wrong(purpose: Purpose = Purpose.SERVER, days: int = 0, issuer: Issued | None = CA) -> Issued:
    return issue("echo.example", purpose, issuer, NAMES, NOW + timedelta(days=days), 10)


@pytest.mark.parametrize("host", ["echo.example", "www.echo.example", "192.0.2.7", "2001:db8:0::7", "[2001:db8::7]"])
def test_the_names_of_the_certificate_are_accepted(tmp_path, ca_file, host):
    assert attempt(server_context(tmp_path, RIGHT), Expectations(host, ca_file)) is None


@pytest.mark.parametrize("host", ["other.example", "a.b.echo.example", "192.0.2.8", "xn--bcher-kva.example"])
def test_another_name_is_refused_with_both(tmp_path, ca_file, host):
    presented = "echo.example, *.echo.example, 192.0.2.7, 2001:db8::7"
    said = attempt(server_context(tmp_path, RIGHT), Expectations(host, ca_file))
    assert said == (f"wrong certificate name: presented {presented}, expected {host}; see --server-name, --insecure")


def test_a_certificate_without_names_is_refused(tmp_path, ca_file):
    nameless = issue("echo.example", Purpose.SERVER, CA, (), NOW, 10)
    said = attempt(server_context(tmp_path, nameless), Expectations("echo.example", ca_file))
    assert said == (
        "wrong certificate name: CN=echo.example has no names (subjectAltName), expected echo.example; see --insecure"
    )


def test_names_in_unicode_are_compared_as_a_labels(tmp_path, ca_file):
    serving = server_context(tmp_path, server(CA, ["bücher.example"], NOW))
    assert attempt(serving, Expectations("bücher.example", ca_file)) is None


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        ((wrong(days=-20),), "certificate expired: CN=echo.example was valid until "),
        ((wrong(days=20),), "certificate not yet valid: CN=echo.example is valid from "),
        (
            (wrong(Purpose.CLIENT),),
            "wrong certificate purpose: CN=echo.example is for TLS clients, expected TLS servers; see --insecure",
        ),
        (
            (self_signed(NAMES, NOW),),
            "certificate not trusted: CN=echo.example is self-signed, expected an issuer in ",
        ),
        (
            (server(authority(NOW, "another CA"), NAMES, NOW),),
            "certificate not trusted: CN=echo.example is issued by CN=another CA, expected an issuer in ",
        ),
    ],
    ids=["expired", "future", "purpose", "self-signed", "foreign"],
)
def test_a_wrong_certificate_is_refused_by_name(tmp_path, ca_file, chain, words):
    said = attempt(server_context(tmp_path, *chain), Expectations("echo.example", ca_file))
    assert said is not None
    assert said.startswith(words)
    assert said.endswith("; see --insecure")
    assert said.isprintable()


def test_the_day_of_the_expiry_is_named(tmp_path, ca_file):
    late = wrong(days=-20)
    said = attempt(server_context(tmp_path, late), Expectations("echo.example", ca_file))
    assert f" until {late.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC (10 days ago)" in str(said)


def test_an_expired_issuer_is_named_and_not_the_leaf(tmp_path):
    old = issue("old CA", Purpose.AUTHORITY, None, (), NOW - timedelta(days=20), 10)
    (tmp_path / "old.pem").write_bytes(old.certificate_pem)
    expected = Expectations("echo.example", str(tmp_path / "old.pem"))
    leaf = server(old, NAMES, NOW)
    said = attempt(server_context(tmp_path, leaf, old), expected)
    assert str(said).startswith("certificate expired: CN=old CA was valid until ")
    said = attempt(server_context(tmp_path, leaf), expected)
    assert said == (
        "certificate expired: a trusted certificate that issued CN=echo.example is too old; see --ca, --insecure"
    )


def test_the_system_trusts_no_test_authority(tmp_path):
    said = attempt(server_context(tmp_path, RIGHT), Expectations("echo.example"))
    assert said == (
        "certificate not trusted: CN=echo.example is issued by CN=echod test CA, expected an issuer that the system"
        " trusts; see --ca, --insecure"
    )


def test_the_last_issuer_of_a_longer_chain_is_named(tmp_path, ca_file):
    other = authority(NOW, "another CA")
    said = attempt(server_context(tmp_path, server(other, NAMES, NOW), other), Expectations("echo.example", ca_file))
    assert str(said).startswith(
        "certificate not trusted: CN=echo.example is issued by CN=another CA (2 certificates presented), expected an"
    )


def test_a_self_signed_certificate_is_accepted_if_it_is_named_as_trusted(tmp_path):
    own = self_signed(NAMES, NOW)
    (tmp_path / "own.pem").write_bytes(own.certificate_pem)
    serving = server_context(tmp_path, own)
    assert attempt(serving, Expectations("echo.example", str(tmp_path / "own.pem"))) is None


def test_insecure_accepts_every_certificate(tmp_path):
    expected = Expectations("echo.example", verified=False)
    for issued in (wrong(days=-20), wrong(Purpose.CLIENT), self_signed(NAMES, NOW)):
        _, error = shake(client_context(expected), server_context(tmp_path, issued), "echo.example")
        assert error is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_missing_client_certificate_is_named(tmp_path, ca_file, version):
    serving = server_context(tmp_path, RIGHT, client_ca=CA)
    serving.maximum_version = version
    said = attempt(serving, Expectations("echo.example", ca_file))
    alert = "certificate_required" if version is ssl.TLSVersion.TLSv1_3 else "handshake_failure"
    assert said == (
        f"the server refused the handshake ({alert}): it requires a client certificate, and none was presented;"
        " see --cert, --key"
    )


def present(tmp_path, issued: Issued) -> tuple[str, str]:
    for name, content in (("client.pem", issued.certificate_pem), ("client-key.pem", issued.key_pem)):
        (tmp_path / name).write_bytes(content)
    return str(tmp_path / "client.pem"), str(tmp_path / "client-key.pem")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_is_presented_or_refused_by_name(tmp_path, ca_file, version):
    serving = server_context(tmp_path, RIGHT, client_ca=CA)
    serving.maximum_version = version
    certificate, key = present(tmp_path, client(CA, "anna", NOW))
    assert attempt(serving, Expectations("echo.example", ca_file, certificate, key)) is None
    present(tmp_path, client(authority(NOW, "another CA"), "anna", NOW))
    said = attempt(serving, Expectations("echo.example", ca_file, certificate, key))
    assert said == (
        f"the server refused the handshake (unknown_ca): it does not accept the client certificate of {certificate}"
    )


def test_one_file_may_have_the_certificate_and_the_key(tmp_path, ca_file):
    anna = client(CA, "anna", NOW)
    (tmp_path / "both.pem").write_bytes(anna.key_pem + anna.certificate_pem)
    serving = server_context(tmp_path, RIGHT, client_ca=CA)
    assert attempt(serving, Expectations("echo.example", ca_file, str(tmp_path / "both.pem"))) is None


def test_alpn_is_offered_and_its_refusal_is_named(tmp_path, ca_file):
    serving = server_context(tmp_path, RIGHT)
    serving.set_alpn_protocols(["echo"])
    tls, error = shake(client_context(Expectations("echo.example", ca_file, alpn=("x", "echo"))), serving, None)
    assert (error, tls.selected_alpn_protocol()) == (None, "echo")


def alerted(number: int, *, received: bool = True) -> str:
    """The words for an alert, as the transcript records it."""
    expected = Expectations("echo.example", alpn=("a", "b"), certificate="client.pem")
    tls = observed(client_context(Expectations()).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO()))
    tls.transcript.message(received, 0x304, 21, bytes((2, number)))
    return explained(ssl.SSLError(1, "anything"), tls.transcript, expected)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (40, "(handshake_failure): both sides have no cipher or no parameters in common"),
        (70, "(protocol_version): it supports neither TLS 1.2 nor TLS 1.3"),
        (112, "(unrecognized_name): it does not serve the name echo.example; see --server-name"),
        (120, "(no_application_protocol): it supports none of the offered ALPN protocols: a, b; see --alpn"),
        (80, "(internal_error)"),
        (200, "(alert 200)"),
    ],
)
def test_an_alert_is_named(number, words):
    assert alerted(number) == f"the server refused the handshake {words}"


def test_our_own_alert_is_not_the_servers():
    assert alerted(40, received=False).startswith("TLS error: ")


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 64], ids=["ssh", "http", "zeros"]
)
def test_a_plaintext_server_is_named(answer):
    from_server = ssl.MemoryBIO()
    tls = observed(client_context(Expectations(verified=False)).wrap_bio(from_server, ssl.MemoryBIO()))
    from_server.write(answer)
    with pytest.raises(ssl.SSLError) as error:
        tls.do_handshake()
    assert explained(error.value, tls.transcript, Expectations()) == (
        "not a TLS server: its first bytes are not a TLS record; tcp:// and ws:// have no TLS"
    )


def test_an_echo_service_without_tls_is_named():
    from_server, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = observed(client_context(Expectations(verified=False)).wrap_bio(from_server, to_server))
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    from_server.write(to_server.read())
    with pytest.raises(ssl.SSLError) as error:
        tls.do_handshake()
    assert explained(error.value, tls.transcript, Expectations()) == (
        "not a TLS server: it sent no ServerHello; an echo service without TLS returns the ClientHello"
    )


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("none.pem", "", "none.pem: no such file or directory (ENOENT)"),
        ("ca.pem", "", "ca.pem: expected a certificate and its private key in PEM; see --key"),
        ("client.pem", "ca.pem", "client.pem: expected a certificate in PEM, and a private key in PEM in "),
        ("ca.pem", "client-key.pem", "client-key.pem: the private key is not that of "),
        ("client.pem", "secret.pem", "secret.pem: the private key is encrypted; expected one without a passphrase"),
    ],
    ids=["missing", "no-key", "not-a-key", "another-key", "encrypted"],
)
def test_a_wrong_client_certificate_is_named(tmp_path, ca_file, certificate, key, words):
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    anna = client(CA, "anna", NOW)
    present(tmp_path, anna)
    locked = anna.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "secret.pem").write_bytes(locked)
    named = Expectations("", "", str(tmp_path / certificate), str(tmp_path / key) if key else "")
    with pytest.raises(Unfit) as wrong:
        client_context(named)
    assert words in str(wrong.value)


def test_a_wrong_ca_file_is_named(tmp_path):
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(Unfit, match=r"empty\.pem: contains no certificate in PEM"):
        client_context(Expectations("", str(tmp_path / "empty.pem")))
    with pytest.raises(Unfit, match=r"none\.pem: no such file or directory \(ENOENT\)"):
        client_context(Expectations("", str(tmp_path / "none.pem")))


def test_only_a_name_is_sent_in_the_hello():
    assert server_name("Echo.Example.") == "echo.example"
    assert server_name("bücher.example") == "xn--bcher-kva.example"
    assert server_name("127.0.0.1") is server_name("[::1]") is server_name("fe80::1%eth0") is None
    assert ip_address("[fe80::1%eth0]") == "fe80::1"
    for host in ("", "*.example", "a b", "1.2.3.4.5"):
        with pytest.raises(ValueError, match=r".+"):
            server_name(host)


def test_a_malformed_certificate_is_refused():
    assert str(verify_name(b"\x30\x03abc", "echo.example")).startswith("malformed certificate: ")
