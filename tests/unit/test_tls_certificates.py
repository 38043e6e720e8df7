"""Certificates from files: each way in which one is wrong has its message, with the file."""

import base64
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from echod.tls import certificates, issuing
from echod.tls.certificates import CertificateError, read, read_authorities, read_directory, self_signed, usual_names
from tests.tls import authority

NOW = datetime.now(UTC)


def issued(*names, begin=NOW, days=90):
    return issuing.server(authority(), names, begin, days)


@pytest.fixture
def write(tmp_path):
    """Writes files, and returns the path of the first."""

    def write(**files):
        paths = []
        for name, content in files.items():
            path = tmp_path / name.replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            paths.append(path)
        return paths[0]

    return write


def test_a_certificate_and_its_key_may_be_in_one_file_or_in_two(write):
    made = issued("echo.example", "*.echo.example", "192.0.2.1")
    one = read(write(both_pem=made.certificate_pem + made.key_pem))
    two = read(write(a_pem=made.certificate_pem), write(a_key=made.key_pem))
    for certificate in (one, two):
        assert certificate.facts.names == ("echo.example", "*.echo.example", "192.0.2.1")
        assert b"PRIVATE KEY" in certificate.pem
        assert not certificate.made


def encrypted(made):
    return made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))


def cut(pem):
    lines = pem.splitlines(keepends=True)
    return b"".join(lines[:2] + lines[3:])


def marked(pem):
    """The file with a character that PEM does not have."""
    middle = len(pem) // 2
    return pem[:middle] + b"!" + pem[middle + 1 :]


def misnamed(made):
    """The certificate with an issuer that is tagged as UTF-8, and is not."""
    name = authority().certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value.encode()
    return changed(made, name, b"\xff" + name[1:])


def keyless(made):
    """The certificate with a public key that is not a point of its curve."""
    point = made.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return changed(made, point, point[:-1] + bytes([point[-1] ^ 1]))


def changed(made, old, new):
    der = made.certificate.public_bytes(Encoding.DER)
    assert old in der
    lines = base64.encodebytes(der.replace(old, new))
    return b"-----BEGIN CERTIFICATE-----\n" + lines + b"-----END CERTIFICATE-----\n"


DAMAGED = "the certificate is damaged; expected whole certificates in PEM form"
DAMAGED_KEY = (
    "the key is damaged, or has another form; expected a whole private key in PEM form, as openssl pkey writes it"
)


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        (lambda made: b"hello", None, "a.pem: the file has no private key; set key"),
        (lambda made: made.certificate_pem, None, "a.pem: the file has no private key; set key"),
        (lambda made: made.key_pem, None, "a.pem: the file has no certificate in PEM form, only a private key"),
        (lambda made: made.certificate_pem, lambda made: b"hello", "a.key: the file has no private key in PEM form"),
        (lambda made: made.certificate_pem, lambda made: issued("x.example").key_pem, "a.key: the key does not belong"),
        (lambda made: made.certificate_pem, encrypted, "a.key: the key is encrypted; expected a key without"),
        (lambda made: made.certificate_pem, lambda made: cut(made.key_pem), f"a.key: {DAMAGED_KEY}"),
        (lambda made: cut(made.certificate_pem), lambda made: made.key_pem, f"a.pem: {DAMAGED}"),
        (lambda made: made.certificate_pem, lambda made: marked(made.key_pem), f"a.key: {DAMAGED_KEY}"),
        (lambda made: marked(made.certificate_pem), lambda made: made.key_pem, f"a.pem: {DAMAGED}"),
        (misnamed, lambda made: made.key_pem, f"a.pem: {DAMAGED}"),
        (keyless, lambda made: made.key_pem, f"a.pem: {DAMAGED}"),
    ],
    ids=[
        "text",
        "no key",
        "no certificate",
        "no key in key",
        "mismatch",
        "encrypted",
        "cut key",
        "cut certificate",
        "a foreign character in the key",
        "a foreign character in the certificate",
        "a name that is not UTF-8",
        "a public key that is not a point",
    ],
)
def test_a_wrong_file_is_named_with_the_reason(certificate, key, words, write):
    made = issued("echo.example")
    path = write(a_pem=certificate(made))
    with pytest.raises(CertificateError) as caught:
        read(path, None if key is None else write(a_key=key(made)))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "http" not in str(caught.value)


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (NOW - timedelta(days=91), "a.pem: the certificate expired on "),
        (NOW + timedelta(days=2), "a.pem: the certificate is not valid before "),
    ],
    ids=["expired", "early"],
)
def test_a_certificate_must_be_valid_now(begin, words, write):
    made = issued("echo.example", begin=begin)
    with pytest.raises(CertificateError) as caught:
        read(write(a_pem=made.certificate_pem + made.key_pem))
    assert words in str(caught.value)


def test_a_file_that_cannot_be_read_is_named_with_the_systems_error(tmp_path):
    with pytest.raises(CertificateError, match=r"none\.pem: .*\(ENOENT\)"):
        read(tmp_path / "none.pem")
    with pytest.raises(CertificateError, match=r"\(EISDIR\)"):
        read(tmp_path)
    with pytest.raises(CertificateError, match=r"null is not a regular file"):
        read(tmp_path / "../../../../../../dev/null")


def test_a_directory_has_every_usual_form(tmp_path, write):
    names = ("one", "two", "three", "four")
    one, two, three, four = (issued(f"{name}.example") for name in names)
    write(a_pem=one.certificate_pem + one.key_pem, README=b"", notes_txt=b"")
    write(b_pem=two.certificate_pem, b_key=two.key_pem)
    write(c_crt=three.certificate_pem, c_key=three.key_pem)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "fullchain.pem").write_bytes(four.certificate_pem)
    (tmp_path / "d" / "privkey.pem").write_bytes(four.key_pem)
    assert [found.facts.names for found in read_directory(tmp_path)] == [(f"{name}.example",) for name in names]


def test_a_directory_without_certificates_is_refused(tmp_path):
    with pytest.raises(CertificateError, match="the directory has no certificates; expected"):
        read_directory(tmp_path)
    with pytest.raises(CertificateError, match=r"\(ENOENT\)"):
        read_directory(tmp_path / "none")


def test_a_wrong_file_of_a_directory_is_named(tmp_path, write):
    write(a_pem=issued("x.example").certificate_pem)
    with pytest.raises(CertificateError, match=r"a\.pem: the file has no private key; expected it .*a\.key$"):
        read_directory(tmp_path)


def test_a_key_alone_and_an_authority_are_named(tmp_path, write):
    write(a_pem=issued("x.example").key_pem)
    with pytest.raises(CertificateError, match=r"a\.pem: the file has only a private key; expected it in NAME\.key"):
        read_directory(tmp_path)
    write(a_pem=authority().certificate_pem)
    with pytest.raises(CertificateError, match=r"a\.pem: the file has the certificate of an authority, without a key"):
        read_directory(tmp_path)


def test_a_folder_that_cannot_be_searched_is_named():
    with tempfile.TemporaryDirectory() as name:
        directory, private = Path(name), Path(name) / "private"
        directory.chmod(0o755)
        private.mkdir(0)
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)
            with pytest.raises(CertificateError, match=r"/private: permission denied \(EACCES\)"):
                read_directory(directory)
        finally:
            if root:
                os.seteuid(0)


UNSUPPORTED = b"""-----BEGIN EC PRIVATE KEY-----
MD4CAQEEDs0PQKLCYUMYRdwK7+07oAcGBSuBBAAGoSADHgAEdW9n/2yAjC4aSMwH
6ag66DD0sfcGXdiwBflqIw==
-----END EC PRIVATE KEY-----
"""
"""A key for the curve secp112r1, which `cryptography` does not support."""


def test_a_key_of_an_unsupported_kind_is_an_error(write):
    made = issued("x.example")
    with pytest.raises(CertificateError, match=r"a\.key: the key cannot be used: Curve .* is not supported"):
        read(write(a_pem=made.certificate_pem), write(a_key=UNSUPPORTED))


def test_a_certificate_for_a_key_of_an_unsupported_kind_is_an_error(write, monkeypatch):
    made = issued("x.example")

    def fails(_key):
        raise UnsupportedAlgorithm("Curve 1.3.132.0.6 is not supported")

    monkeypatch.setattr(certificates, "_public", fails)
    with pytest.raises(CertificateError, match=r"a\.pem: the certificate has an unusable key: Curve"):
        read(write(a_pem=made.certificate_pem + made.key_pem))


def test_a_directory_has_a_maximum(tmp_path, write, monkeypatch):
    monkeypatch.setattr(certificates, "MOST", 1)
    made = issued("x.example")
    write(a_pem=made.certificate_pem + made.key_pem, b_pem=made.certificate_pem + made.key_pem)
    with pytest.raises(CertificateError, match="more than 1 certificates"):
        read_directory(tmp_path)


def test_authorities_are_certificates(write):
    assert "BEGIN CERTIFICATE" in read_authorities(write(ca_pem=authority().certificate_pem * 2))
    with pytest.raises(CertificateError, match="has no certificate in PEM form"):
        read_authorities(write(b_pem=b"hello"))


def test_a_certificate_is_made_once_for_the_same_names():
    names = usual_names(["192.0.2.1", "*", "fe80::1%eth0", "echo.example"])
    made = self_signed(names)
    assert made.facts.names[:6] == ("192.0.2.1", "fe80::1", "echo.example", "localhost", "127.0.0.1", "::1")
    assert made.made
    assert self_signed(names) is made
    assert self_signed(("other.example",)).facts.fingerprint != made.facts.fingerprint


def test_a_made_certificate_is_replaced_in_its_last_days(monkeypatch):
    first = self_signed(("renewed.example",))
    monkeypatch.setattr(certificates, "RENEWED", timedelta(days=400))
    assert self_signed(("renewed.example",)).facts.fingerprint != first.facts.fingerprint
