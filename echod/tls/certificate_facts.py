"""The facts of one certificate that people and monitoring read: subject, names, issuer, validity, fingerprint.

A certificate of a peer is untrusted input: the texts here are escaped, and their length is bounded. Pure.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from echod.escaping import clipped, counted
from echod.tls.days_left import days_left

LISTED: Final = 8  #: names in a message; more are counted
_PURPOSES: Final = {
    ExtendedKeyUsageOID.SERVER_AUTH: "TLS servers",
    ExtendedKeyUsageOID.CLIENT_AUTH: "TLS clients",
    ExtendedKeyUsageOID.CODE_SIGNING: "code signing",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "email",
    ExtendedKeyUsageOID.TIME_STAMPING: "time stamping",
    ExtendedKeyUsageOID.OCSP_SIGNING: "OCSP responses",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "any purpose",
}

MALFORMED: Final = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""The errors of `cryptography` for malformed certificates. Many parts are parsed only when they are read."""


@dataclass(frozen=True)
class CertificateFacts:
    """The facts of a certificate. All texts are printable, and at most `escaping.SHOWN` characters long."""

    subject: str  #: as in RFC 4514, such as `CN=echo.example`; may be empty
    issuer: str
    names: tuple[str, ...]  #: DNS names, IP addresses, and others with a prefix such as `URI:`
    since: datetime  #: aware, UTC
    until: datetime
    serial: str  #: hexadecimal
    fingerprint: str  #: SHA-256 of the DER form, hexadecimal
    purposes: tuple[str, ...]  #: extendedKeyUsage in words; empty if the certificate does not restrict it

    @property
    def listed(self) -> str:
        """The first names, and the number of the others."""
        more = len(self.names) - LISTED
        return ", ".join([*self.names[:LISTED], *([f"and {counted(more, 'more', 'more')}"] if more > 0 else [])])

    def days_left(self, now: datetime) -> int:
        """Whole days until the certificate expires, as `tls.days_left`; negative afterwards."""
        return days_left(self.until, now)


@contextmanager
def lenient() -> Iterator[None]:
    """Read a certificate of a peer. Raises ValueError for every error of MALFORMED.

    `cryptography` warns on standard error about what a later version will refuse, such as a negative serial number.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        try:
            yield
        except MALFORMED as error:
            raise ValueError(str(error) or type(error).__name__) from None


def facts_of(certificate: x509.Certificate) -> CertificateFacts:
    """The facts of a certificate; malformed names and purposes are absent. Raises ValueError if it is malformed."""
    with lenient():
        return CertificateFacts(
            subject=clipped(certificate.subject.rfc4514_string()),
            issuer=clipped(certificate.issuer.rfc4514_string()),
            names=tuple(_names(certificate)),
            since=certificate.not_valid_before_utc,
            until=certificate.not_valid_after_utc,
            serial=f"{certificate.serial_number:x}",
            fingerprint=certificate.fingerprint(SHA256()).hex(),
            purposes=tuple(_PURPOSES.get(purpose, purpose.dotted_string) for purpose in _purposes(certificate)),
        )


def parsed(der: bytes) -> x509.Certificate:
    """A certificate in DER. Raises ValueError if it is malformed."""
    with lenient():
        return x509.load_der_x509_certificate(der)


def facts_of_der(der: bytes) -> CertificateFacts:
    """The facts of a certificate in DER. Raises ValueError if it is malformed."""
    return facts_of(parsed(der))


def _names(certificate: x509.Certificate) -> Iterator[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return
    for name in names:
        if isinstance(name, x509.DNSName):
            value = clipped(name.value)
            yield f"DNS:{value}" if value.replace(".", "").isdigit() or ":" in value else value
        elif isinstance(name, x509.IPAddress):
            yield str(name.value)
        elif isinstance(name, x509.RFC822Name):
            yield f"email:{clipped(name.value)}"
        elif isinstance(name, x509.UniformResourceIdentifier):
            yield f"URI:{clipped(name.value)}"
        else:
            yield type(name).__name__


def _purposes(certificate: x509.Certificate) -> list[ObjectIdentifier]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (x509.ExtensionNotFound, *MALFORMED):
        return []
