"""Certificates with their keys: read from files and checked, or made for a test server.

Each is read once, as bytes, so that a renewal of the files cannot mix two certificates.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from echod.escaping import escaped, system_error
from echod.small_files import Unsuitable, read_whole
from echod.tls import issuing, wrong_certificates
from echod.tls.certificate_facts import MALFORMED, CertificateFacts, facts_of
from echod.tls.issuing import dns_name

DAYS: Final = 365  #: validity of a certificate that is made; some clients refuse more than 398 days
RENEWED: Final = timedelta(days=30)  #: a certificate that is made is replaced by the first reload in its last days
MOST: Final = 1000  #: certificates of a directory
KEY: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
ENCRYPTED: Final = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")


class CertificateError(ValueError):
    """A certificate or a key cannot be used; the message names the file and the reason."""


class KeyFileError(CertificateError):
    """A key in a file of its own cannot be used."""


@dataclass(frozen=True)
class Certificate:
    """A certificate chain with its key. `pem` has both, and `source` is the file, or a word."""

    source: str
    pem: bytes
    facts: CertificateFacts  #: of the first certificate of the chain
    made: bool = False  #: made by this process
    issuer: bytes = field(
        default=b"", repr=False
    )  #: the test authority of one that is wrong on purpose, with its key, as PEM


def read(
    certificate: Path, key: Path | None = None, *, missing: str = "set key to the file that has it"
) -> Certificate:
    """A certificate chain, and its key from a file of its own or from the same file. Raises CertificateError,
    or KeyFileError for `key`.

    `missing` tells the user what to do if `key` is None and the file of the certificate has no private key.
    """
    chain = _read(certificate)
    own = KEY.search(chain)
    if key is None and not own:
        raise CertificateError(f"{_shown(certificate)}: the file has no private key; {missing}")
    with _errors_of(key):
        secret = chain if key is None else _read(key)
        if key is not None and not KEY.search(secret):
            raise CertificateError(f"{_shown(key)}: the file has no private key in PEM form")
    leaf = _leaf(certificate, chain)
    with _errors_of(key):
        _check_key(key or certificate, secret, certificate, leaf)
    pem = chain if key is None else chain + b"\n" + secret
    with _errors_of_parsing(certificate):
        return Certificate(str(certificate), pem, facts_of(leaf))


@contextmanager
def _errors_of(key: Path | None) -> Iterator[None]:
    """Within it, errors are KeyFileErrors, if the key has a file of its own."""
    try:
        yield
    except CertificateError as error:
        if key is None:
            raise
        raise KeyFileError(str(error)) from error


def read_directory(directory: Path) -> tuple[Certificate, ...]:
    """Every certificate of a directory, in the order of the files' names. Raises CertificateError.

    They are NAME.pem with the key in the same file or in NAME.key; NAME.crt with NAME.key; or, as certbot has them,
    NAME/fullchain.pem with NAME/privkey.pem.
    """
    found: list[Certificate] = []
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise CertificateError(f"{_shown(directory)}: {system_error(error)}") from error
    for entry in entries:
        try:
            pair = _pair(entry)
        except OSError as error:  # a folder in it that this user may not read
            raise CertificateError(f"{_shown(entry)}: {system_error(error)}") from error
        if pair is not None:
            if pair[1] is None:
                _refuse_others(entry)
            if len(found) >= MOST:
                raise CertificateError(f"{_shown(directory)}: more than {MOST} certificates")
            found.append(read(*pair, missing=f"expected it there, or in {_shown(entry.with_suffix('.key'))}"))
    if not found:
        right = "expected NAME.pem, NAME.crt with NAME.key, or NAME/fullchain.pem with NAME/privkey.pem"
        raise CertificateError(f"{_shown(directory)}: the directory has no certificates; {right}")
    return tuple(found)


def _refuse_others(entry: Path) -> None:
    """Raise CertificateError if a file has only a private key, or the certificate of an authority without its key."""
    content = _read(entry)
    if CERTIFICATE not in content:
        if KEY.search(content):
            right = "expected it in NAME.key, beside the certificate NAME.pem"
            raise CertificateError(f"{_shown(entry)}: the file has only a private key; {right}")
    elif not KEY.search(content) and _is_authority(_parsed(entry, content)[0]):
        right = "the directory may have only certificates with their keys"
        raise CertificateError(f"{_shown(entry)}: the file has the certificate of an authority, without a key; {right}")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *MALFORMED):
        return False


def _pair(entry: Path) -> tuple[Path, Path | None] | None:
    """The files of the certificate and of the key, if an entry of a directory is or has a certificate."""
    if entry.suffix in (".pem", ".crt"):
        key = entry.with_suffix(".key")
        if key.exists():
            return entry, key
        return entry, None
    if (chain := entry / "fullchain.pem").exists():
        return chain, entry / "privkey.pem"
    return None


def read_authorities(file: Path) -> str:
    """The certificates of a file with certificate authorities, as PEM. Raises CertificateError."""
    content = _read(file)
    _parsed(file, content)
    return content.decode("ascii", "ignore")


def usual_names(hosts: Iterable[str]) -> tuple[str, ...]:
    """The names for a certificate that is made: the hosts that are listened on, `localhost`, and this machine's."""
    given = [host.partition("%")[0] for host in hosts if host not in ("", "*", "0.0.0.0", "::")]
    return tuple(dict.fromkeys([*given, "localhost", "127.0.0.1", "::1", *_machine()]))


def _machine() -> Iterator[str]:
    """The name of this machine, if a certificate can have it."""
    name = socket.gethostname()
    with suppress(ValueError):
        dns_name(name)
        yield name


_made: Final[dict[tuple[str, ...], Certificate]] = {}
_wrong: Final[dict[tuple[object, ...], Certificate]] = {}
_made_at: Final[dict[tuple[object, ...], datetime]] = {}


def self_signed(names: tuple[str, ...]) -> Certificate:
    """A certificate for these names and addresses, signed by its own key. A process keeps it over its reloads."""
    now = datetime.now(UTC)
    made = _made.get(names)
    if made is None or made.facts.until - now < RENEWED:
        issued = issuing.self_signed(names, now, DAYS)
        pem = issued.certificate_pem + issued.key_pem
        made = _made[names] = Certificate("self-signed", pem, facts_of(issued.certificate), made=True)
    return made


_authorities: Final[list[issuing.Issued]] = []  # the test authority, once it is made or adopted


def test_authority() -> issuing.Issued:
    """The test authority of this process, or of its parent."""
    if not _authorities:
        _authorities.append(issuing.root(datetime.now(UTC)))
    return _authorities[0]


def adopt_test_authority(pem: bytes) -> None:
    """Use the test authority of the parent process: its certificate and its key, in PEM."""
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, issuing.Key)
    _authorities[:] = [issuing.Issued(x509.load_pem_x509_certificate(pem), key)]


def read_test_authority(certificate: Path, key: Path | None = None) -> issuing.Issued:
    """A test authority, and its key from a file of its own or from the same file. Raises CertificateError."""
    pair = read(certificate, key, missing="set test-ca-key to the file that has it")
    signer = _private_key(key or certificate, pair.pem if key is None else _read(key))
    if not isinstance(signer, issuing.Key):
        with _errors_of(key):
            raise CertificateError(f"{_shown(key or certificate)}: expected an EC or an RSA key")
    found = issuing.Issued(x509.load_pem_x509_certificate(pair.pem), signer)
    if (why := wrong_certificates.may_issue(found)) is not None:
        raise CertificateError(f"{_shown(certificate)}: {why}")
    return found


def wrong(
    word: str, names: Sequence[str], issuer: issuing.Issued, crl_url: str = "", ocsp_url: str = ""
) -> Certificate:
    """A certificate that is wrong on purpose: `word` is a key of `wrong_certificates.MAKERS`.

    A process keeps it over its reloads.
    """
    now = datetime.now(UTC)
    key = (word, tuple(names), issuer.certificate, crl_url, ocsp_url)
    made = _wrong.get(key)
    if made is None or now - _made_at[key] > timedelta(days=wrong_certificates.DAYS) - RENEWED:
        order = wrong_certificates.Order(issuer, names, now, crl_url, ocsp_url)
        chain = wrong_certificates.MAKERS[word](order)
        facts = facts_of(chain.leaf.certificate)
        made = Certificate(
            word,
            chain.certificates_pem + chain.leaf.key_pem,
            facts,
            made=True,
            issuer=issuer.certificate_pem + issuer.key_pem,
        )
        _wrong[key], _made_at[key] = made, now
    return made


def _leaf(file: Path, chain: bytes) -> x509.Certificate:
    """The first certificate of a chain, which must be valid now. Raises CertificateError."""
    leaf = _parsed(file, chain)[0]
    try:
        with _errors_of_parsing(file):
            _public(leaf.public_key())
    except UnsupportedAlgorithm as error:
        raise CertificateError(f"{_shown(file)}: the certificate has an unusable key: {escaped(str(error))}") from error
    now, since, until = datetime.now(UTC), leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if now > until:
        raise CertificateError(f"{_shown(file)}: the certificate expired on {until:%Y-%m-%d %H:%M} UTC")
    if now < since:
        raise CertificateError(f"{_shown(file)}: the certificate is not valid before {since:%Y-%m-%d %H:%M} UTC")
    return leaf


def _parsed(file: Path, content: bytes) -> list[x509.Certificate]:
    if CERTIFICATE not in content:
        only = ", only a private key" if b"PRIVATE KEY-----" in content else ""
        raise CertificateError(f"{_shown(file)}: the file has no certificate in PEM form{only}")
    with _errors_of_parsing(file):
        found = x509.load_pem_x509_certificates(content)
        for one in found:
            _ = one.extensions  # parsed on access
    return found


@contextmanager
def _errors_of_parsing(file: Path) -> Iterator[None]:
    """Within it, errors of a malformed certificate are CertificateErrors.

    The text of a ValueError of `cryptography` describes its parser, and has a link: it is not shown.
    """
    try:
        yield
    except MALFORMED as error:
        reason = "" if isinstance(error, ValueError) else f" ({escaped(str(error))})"
        right = "expected whole certificates in PEM form"
        raise CertificateError(f"{_shown(file)}: the certificate is damaged{reason}; {right}") from error


def _check_key(file: Path, secret: bytes, certificate: Path, leaf: x509.Certificate) -> None:
    """Check that the key can be read, and belongs to the certificate. Raises CertificateError."""
    if _public(_private_key(file, secret).public_key()) != _public(leaf.public_key()):
        raise CertificateError(f"{_shown(file)}: the key does not belong to the certificate of {_shown(certificate)}")


def _private_key(file: Path, secret: bytes) -> Any:
    """The first private key in PEM. Raises CertificateError."""
    if any(word in secret for word in ENCRYPTED):
        raise CertificateError(f"{_shown(file)}: the key is encrypted; expected a key without a password")
    start = KEY.search(secret)
    try:
        return serialization.load_pem_private_key(secret[start.start() if start else 0 :], None)
    except UnsupportedAlgorithm as error:
        raise CertificateError(f"{_shown(file)}: the key cannot be used: {escaped(str(error))}") from error
    except (ValueError, TypeError) as error:  # the text describes the parser, and has a link
        right = "expected a whole private key in PEM form, as openssl pkey writes it"
        raise CertificateError(f"{_shown(file)}: the key is damaged, or has another form; {right}") from error


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _read(file: Path) -> bytes:
    try:
        return read_whole(file)
    except OSError as error:
        raise CertificateError(f"{_shown(file)}: {system_error(error)}") from error
    except Unsuitable as error:
        raise CertificateError(f"{_shown(file)} {error}") from error


def _shown(file: Path) -> str:
    return escaped(str(file))
