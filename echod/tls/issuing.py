"""Issues certificates for tests and demonstrations: an authority, and certificates of servers and clients.

The profile of the certificates is that of RFC 5280 and RFC 9525: names are in subjectAltName, the purpose is in
extendedKeyUsage, and an authority signs end-entity certificates only. Keys are EC P-256, signatures are ECDSA with
SHA-256. Pure: files are written by the caller, and time is passed in.

`self_signed` makes the certificate of a server without an authority. `issue` makes any other one, including wrong ones:
its arguments `begin` and `days` may be in the past, and the names, the purpose and the key are free.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

import idna
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from echod.escaping import clipped

LEAF_DAYS: Final = 825  #: validity of servers and clients: the most that common clients accept from a private authority
AUTHORITY_DAYS: Final = 3650
LEEWAY: Final = timedelta(hours=1)  #: a certificate is valid before it is issued, because other clocks may be slow
LONGEST_COMMON_NAME: Final = 64  #: characters (RFC 5280, appendix A.1: ub-common-name)
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
LONGEST_NAME: Final = 253  #: characters of a DNS name as text (RFC 1035 2.3.4)


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Purpose(Enum):
    """The purpose of a certificate. The value is the key purpose (RFC 5280 4.2.1.12); an authority has none."""

    AUTHORITY = None
    SERVER = ExtendedKeyUsageOID.SERVER_AUTH
    CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: Key

    @property
    def certificate_pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key in PEM (PKCS #8), not encrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def authority(begin: datetime, name: str = "echod test CA", days: int = AUTHORITY_DAYS) -> Issued:
    """A self-signed authority that signs end-entity certificates, but no other authorities."""
    return issue(name, Purpose.AUTHORITY, None, (), begin, days)


def root(begin: datetime, name: str = "echod test CA", days: int = AUTHORITY_DAYS) -> Issued:
    """A self-signed authority that may sign other authorities, too, in chains of any length."""
    return issue(name, Purpose.AUTHORITY, None, (), begin, days, path_length=None)


def self_signed(names: Sequence[str], begin: datetime, days: int = LEAF_DAYS) -> Issued:
    """A server certificate that is its own issuer. Raises ValueError for a wrong name."""
    return issue(common_name(names), Purpose.SERVER, None, names, begin, days)


def server(issuer: Issued, names: Sequence[str], begin: datetime, days: int = LEAF_DAYS) -> Issued:
    """A certificate of a server with these names. Raises ValueError for a wrong name."""
    return issue(common_name(names), Purpose.SERVER, issuer, names, begin, days)


def client(issuer: Issued, subject: str, begin: datetime, days: int = LEAF_DAYS) -> Issued:
    """A certificate of a client. `subject` is its common name."""
    return issue(subject, Purpose.CLIENT, issuer, (), begin, days)


def issue(
    subject: str,
    purpose: Purpose,
    issuer: Issued | None,
    names: Iterable[str],
    begin: datetime,
    days: int,
    *,
    key: Key | None = None,
    serial: int | None = None,
    path_length: int | None = 0,
    extensions: Iterable[x509.ExtensionType] = (),
) -> Issued:
    """A certificate, valid for `days` from LEEWAY before `begin`, an aware datetime.

    `issuer` signs it; None makes it self-signed. `names` are DNS names and IP addresses. By default it has a new key
    and a random serial number. `path_length` is the number of authorities that an authority may have below it; None
    is any number. `extensions` are further ones, not critical. Raises ValueError for a wrong name, or for a subject
    of more than LONGEST_COMMON_NAME characters.
    """
    key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    signer = key if issuer is None else issuer.key
    is_authority = purpose is Purpose.AUTHORITY
    since = begin - LEEWAY
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number() if serial is None else serial)
        .not_valid_before(since)
        .not_valid_after(since + timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_authority, path_length if is_authority else None), critical=True)
        .add_extension(_key_usage(is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if purpose.value is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose.value]), critical=False)
    if alternatives := [general_name(each) for each in dict.fromkeys(names)]:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Issued(builder.sign(signer, SHA256()), key)


def general_name(name: str) -> x509.GeneralName:
    """A DNS name or an IP address, as a subjectAltName. Raises ValueError with the reason.

    A name may begin with `*.`. A name in Unicode becomes its A-labels (RFC 5891).
    """
    host = name.removeprefix("[").removesuffix("]") if name.startswith("[") else name
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return x509.DNSName(dns_name(name))
    if getattr(address, "scope_id", None):
        raise ValueError(f"{clipped(name)}: a certificate cannot contain the scope of an address")
    return x509.IPAddress(address)


def dns_name(name: str) -> str:
    """A DNS name in lower case with A-labels. Raises ValueError with the reason."""
    star = "*." if name.startswith("*.") else ""
    rest = name[len(star) :].removesuffix(".").lower()
    try:
        ascii_name = rest if rest.isascii() else idna.encode(rest, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"{clipped(name)} is not a DNS name: {clipped(str(error))}") from None
    labels = ascii_name.split(".")
    if len(star + ascii_name) > LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            f"{clipped(name) or 'an empty text'} is not a DNS name or an IP address; expected a name such as"
            " echo.example, *.example or 127.0.0.1"
        )
    if labels[-1].isdigit():  # 127.0.0.1.2 and 1.2.3.999 are wrong addresses, not names (RFC 3696 2)
        raise ValueError(f"{clipped(name)} is not an IP address")
    return star + ascii_name


def common_name(names: Sequence[str]) -> str:
    """The common name of a server: its first name if that is short enough."""
    return names[0] if names and len(names[0]) <= LONGEST_COMMON_NAME else "echod"


def _key_usage(is_authority: bool) -> x509.KeyUsage:
    """An authority signs certificates and lists of revoked ones; another key signs handshakes (RFC 5280 4.2.1.3)."""
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
