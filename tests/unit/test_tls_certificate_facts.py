"""echod.tls.certificate_facts: what is read from a certificate, and hostile texts in one."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from echod.escaping import SHOWN
from echod.tls.certificate_facts import facts_of, facts_of_der
from echod.tls.issuing import authority, client, server
from echod.tls.verification import verify_name

NOW = datetime.now(UTC).replace(microsecond=0)
CA = authority(NOW)


def test_the_facts_of_a_server():
    issued = server(CA, ["echo.example", "192.0.2.7"], NOW, days=10)
    facts = facts_of_der(issued.certificate.public_bytes(Encoding.DER))
    assert facts == facts_of(issued.certificate)
    assert (facts.subject, facts.issuer) == ("CN=echo.example", "CN=echod test CA")
    assert facts.names == ("echo.example", "192.0.2.7")
    assert facts.purposes == ("TLS servers",)
    assert facts.until - facts.since == timedelta(days=10)
    assert facts.fingerprint == issued.certificate.fingerprint(SHA256()).hex()
    assert facts.days_left(facts.until - timedelta(days=3)) == 3
    assert facts.days_left(facts.until + timedelta(hours=12)) == -1


def test_an_authority_has_no_purpose_and_a_client_has_its_own():
    assert facts_of(CA.certificate).purposes == ()
    assert facts_of(client(CA, "anna", NOW).certificate).purposes == ("TLS clients",)


def forged(common_name, *names):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, NOW, NOW + timedelta(days=1)).add_extension(
        x509.SubjectAlternativeName(names), critical=False
    )
    return facts_of(builder.sign(key, SHA256()))


def test_hostile_texts_are_escaped_and_short():
    facts = forged("\x1b[2J\u202e", x509.DNSName("a\x1b[31m"), x509.DNSName("x" * 1000), x509.RFC822Name("a\nb"))
    for text in (facts.subject, facts.issuer, facts.listed, *facts.names):
        assert text.isprintable()
    assert max(map(len, facts.names)) == SHOWN + 1
    assert facts.names[0] == r"a\x1b[31m"


def test_many_names_are_counted():
    facts = forged("", *(x509.DNSName(f"{number}.example") for number in range(1000)))
    assert len(facts.names) == 1000
    assert facts.listed.endswith("7.example, and 992 more")
    assert facts.subject == ""


def test_other_kinds_of_names_have_a_prefix():
    facts = forged(
        "x",
        x509.DNSName("127.0.0.1"),
        x509.IPAddress(ipaddress.ip_address("::1")),
        x509.UniformResourceIdentifier("urn:a"),
        x509.RFC822Name("a@b.example"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    )
    assert facts.names == ("DNS:127.0.0.1", "::1", "URI:urn:a", "email:a@b.example", "RegisteredID")


@pytest.mark.parametrize("der", [b"", b"\x30\x82", bytes(100)])
def test_malformed_certificates_are_a_value_error(der):
    with pytest.raises(ValueError, match=r".+"):
        facts_of_der(der)


VERSION_3 = bytes.fromhex("a003020102")
RIGHT = server(CA, ["echo.example"], NOW).certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "der",
    [
        RIGHT.replace(VERSION_3, bytes.fromhex("a003020142")),
        re.sub(rb"(\d{6})Z", rb"\1X", RIGHT, count=1),
        RIGHT.replace(bytes.fromhex("0603551d11"), bytes.fromhex("0603551d23")),
    ],
    ids=["version", "date", "twice-the-same-extension"],
)
def test_what_openssl_accepts_and_the_library_does_not_is_a_value_error_or_absent(der):
    assert der != RIGHT
    try:
        assert facts_of_der(der).names == ()
    except ValueError as error:
        assert str(error)
    assert str(verify_name(der, "echo.example")).startswith(("malformed certificate: ", "wrong certificate name: "))


def test_a_negative_serial_number_prints_no_warning(recwarn):
    at = RIGHT.index(VERSION_3) + len(VERSION_3) + 2
    der = RIGHT[:at] + b"\x80" + RIGHT[at + 1 :]
    assert facts_of_der(der).serial.startswith("-")
    assert verify_name(der, "echo.example") is None
    assert not recwarn.list
