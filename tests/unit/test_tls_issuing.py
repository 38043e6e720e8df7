"""echod.tls.issuing: the certificates, and a real handshake with each of them."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from echod.tls.issuing import (
    AUTHORITY_DAYS,
    LEAF_DAYS,
    LEEWAY,
    Issued,
    Purpose,
    authority,
    client,
    dns_name,
    general_name,
    issue,
    self_signed,
    server,
)

NOW = datetime.now(UTC).replace(microsecond=0)


def alternatives(issued):
    names = issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName), names.get_values_for_type(x509.IPAddress)


def shake(tmp_path, server_side: Issued, trusted: Issued, name: str, client_side: Issued | None = None) -> None:
    """A handshake in memory. Raises ssl.SSLError."""
    serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, issued in ((serving, server_side), (asking, client_side)):
        if issued is not None:
            (tmp_path / "pair.pem").write_bytes(issued.certificate_pem + issued.key_pem)
            context.load_cert_chain(tmp_path / "pair.pem")
    for context in (serving, asking):
        context.load_verify_locations(cadata=trusted.certificate_pem.decode())
    serving.verify_mode = ssl.CERT_REQUIRED if client_side is not None else ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        asking.wrap_bio(to_client, to_server, server_hostname=name),
        serving.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)


@pytest.mark.parametrize("name", ["echo.example", "www.echo.example", "127.0.0.1", "::1", "xn--bcher-kva.example"])
def test_each_name_is_verified_in_a_handshake(name, tmp_path):
    trusted = authority(NOW)
    names = ["echo.example", "*.echo.example", "127.0.0.1", "[::1]", "bücher.example"]
    shake(tmp_path, server(trusted, names, NOW), trusted, name)


def test_another_name_and_another_authority_are_refused(tmp_path):
    trusted = authority(NOW)
    made = server(trusted, ["echo.example"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="[Hh]ostname mismatch"):
        shake(tmp_path, made, trusted, "other.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer|self-signed|signature"):
        shake(tmp_path, made, authority(NOW), "echo.example")


def test_a_client_is_verified_and_a_purpose_is_not_exchanged(tmp_path):
    trusted = authority(NOW)
    serving, asking = server(trusted, ["echo.example"], NOW), client(trusted, "anna", NOW)
    shake(tmp_path, serving, trusted, "echo.example", asking)
    for wrong in ((asking, None), (serving, serving)):
        with pytest.raises(ssl.SSLCertVerificationError, match="(unsuitable|unsupported) certificate purpose"):
            shake(tmp_path, wrong[0], trusted, "echo.example", wrong[1])


def test_an_authority_signs_no_other_authority(tmp_path):
    trusted = authority(NOW)
    between = issue("between", Purpose.AUTHORITY, trusted, (), NOW, 10)
    leaf = server(between, ["echo.example"], NOW)
    chain = Issued(leaf.certificate, leaf.key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = tmp_path / "chain.pem"
    file.write_bytes(chain.certificate_pem + between.certificate_pem + chain.key_pem)
    serving.load_cert_chain(file)
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.load_verify_locations(cadata=trusted.certificate_pem.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = asking.wrap_bio(to_client, to_server, server_hostname="echo.example")
    answer = serving.wrap_bio(to_server, to_client, server_side=True)
    for end in (hello, answer):
        with pytest.raises(ssl.SSLWantReadError):
            end.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError, match="path length constraint exceeded"):
        hello.do_handshake()


def test_a_self_signed_certificate_is_its_own_authority_only_for_its_names(tmp_path):
    made = self_signed(["localhost", "127.0.0.1"], NOW)
    assert alternatives(made) == (["localhost"], [ipaddress.ip_address("127.0.0.1")])
    shake(tmp_path, made, made, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(tmp_path, made, made, "echo.example")


def test_the_extensions_are_those_of_rfc_5280():
    trusted = authority(NOW)
    made = server(trusted, ["echo.example", "echo.example"], NOW)
    for issued, is_authority, length in ((trusted, True, 0), (made, False, None)):
        extensions = issued.certificate.extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints)
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, is_authority, length)
        assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (
            True,
            is_authority,
            not is_authority,
        )
        issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        own = trusted.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        assert issuer == own
    assert alternatives(made) == (["echo.example"], [])


def test_the_validity_begins_an_hour_before():
    for made, days in ((authority(NOW), AUTHORITY_DAYS), (self_signed(["a.example"], NOW), LEAF_DAYS)):
        assert made.certificate.not_valid_before_utc == NOW - LEEWAY
        assert made.certificate.not_valid_after_utc == NOW - LEEWAY + timedelta(days=days)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("Echo.Example.", "echo.example"),
        ("*.echo.example", "*.echo.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("a_b", "a_b"),
        ("x" * 63 + ".example", "x" * 63 + ".example"),
    ],
    ids=["case", "wildcard", "unicode", "underscore", "longest-label"],
)
def test_a_dns_name_is_lower_case_with_a_labels(name, right):
    assert dns_name(name) == right


WRONG = {
    "": "an empty text is not a DNS name",
    "a b": "a b is not a DNS name or an IP address; expected a name such as",
    "-a.example": "is not a DNS name",
    "a..b": "is not a DNS name",
    "*": "is not a DNS name",
    "a.*.b": "is not a DNS name",
    "x" * 64 + ".example": "is not a DNS name",
    "x." * 127 + "xx": "is not a DNS name",
    "127.0.0.1.2": "127.0.0.1.2 is not an IP address",
    "256.0.0.1": "256.0.0.1 is not an IP address",
    "fe80::1%eth0": "cannot contain the scope of an address",
    "a\x1b[2J": r"a\x1b[2J is not a DNS name",
    "\u202eexample": "is not a DNS name",
}


@pytest.mark.parametrize("name", WRONG, ids=range(len(WRONG)))
def test_a_wrong_name_is_refused_in_one_printable_line(name):
    with pytest.raises(ValueError) as wrong:  # noqa: PT011 - the text is compared below
        general_name(name)
    assert WRONG[name] in str(wrong.value)
    assert str(wrong.value).isprintable()


def test_a_name_that_is_too_long_for_a_subject_is_only_an_alternative_name():
    name = "x" * 63 + ".example"
    made = self_signed([name], NOW)
    assert made.certificate.subject.rfc4514_string() == "CN=echod"
    assert alternatives(made) == ([name], [])
