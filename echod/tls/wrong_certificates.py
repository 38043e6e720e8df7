"""Server certificates that are wrong on purpose, each for one reason, to test the clients that verify them.

Everything else about them is right: a client that trusts `issuer` and checks one more thing reports that one reason.
docs/CERTIFICATES.md lists the reasons. Pure: files are read and written by the caller, and time is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

from echod.tls import revocation
from echod.tls.issuing import Issued, Purpose, common_name, issue, root, self_signed

DAYS: Final = 365  #: of validity; some clients refuse more than 398 days
AWAY: Final = timedelta(days=365)  #: from now to the start of a certificate that is not yet valid
WRONG_HOST: Final = "wrong-host.invalid"  #: a name that no host can have (RFC 6761 6.4)
WEAK_BITS: Final = (
    1024  #: of RSA: clients have required 2048 since 2014 (CA/Browser Forum, Baseline Requirements 6.1.5)
)
MANY: Final = 1000  #: names
BULKY, BULK = 8, 16_384
"""Authorities of a huge chain, and bytes of a comment in each. Together they exceed the longest certificate message of
OpenSSL (102,400 bytes), Java (32,768) and rustls (65,535)."""
_COMMENT: Final = x509.ObjectIdentifier("2.16.840.1.113730.1.13")  # nsComment


@dataclass(frozen=True)
class Chain:
    """The certificate of a server, and those that it presents after its own."""

    leaf: Issued
    others: Sequence[Issued] = ()

    @property
    def certificates_pem(self) -> bytes:
        """The presented certificates in PEM, that of the server first."""
        return b"".join(one.certificate_pem for one in (self.leaf, *self.others))


@dataclass(frozen=True)
class Order:
    """The parts of a certificate: its issuer, the right names of the server, and the time, an aware datetime.

    `crl_url` and `ocsp_url` are the addresses that a revoked certificate names; empty for none.
    """

    issuer: Issued
    names: Sequence[str]
    now: datetime
    crl_url: str = ""
    ocsp_url: str = ""

    def server(self, issuer: Issued | None = None, begin: datetime | None = None, days: int = DAYS) -> Issued:
        """A right certificate of the server, or one with another issuer or validity."""
        return issue(
            common_name(self.names), Purpose.SERVER, issuer or self.issuer, self.names, begin or self.now, days
        )

    def between(self, issuer: Issued, number: int, *extensions: x509.ExtensionType) -> Issued:
        """An authority that `issuer` signs."""
        name = f"echod test intermediate {number}"
        return issue(name, Purpose.AUTHORITY, issuer, (), self.now, DAYS, path_length=None, extensions=extensions)


Make = Callable[[Order], Chain]


def _expired(order: Order) -> Chain:
    return Chain(order.server(begin=order.now - timedelta(days=31), days=30))


def _not_yet_valid(order: Order) -> Chain:
    return Chain(order.server(begin=order.now + AWAY))


def _wrong_host(order: Order) -> Chain:
    return Chain(issue(WRONG_HOST, Purpose.SERVER, order.issuer, [WRONG_HOST], order.now, DAYS))


def _self_signed(order: Order) -> Chain:
    return Chain(self_signed(order.names, order.now, DAYS))


def _untrusted(order: Order) -> Chain:
    """The issuer is another authority, which is presented, and whose key is lost at once."""
    other = root(order.now, "echod untrusted CA")
    return Chain(order.server(other), [other])


def _incomplete_chain(order: Order) -> Chain:
    return Chain(order.server(order.between(order.issuer, 1)))


def _reversed_chain(order: Order) -> Chain:
    """The authorities are in the wrong order: each should certify the one before it (RFC 5246 7.4.2).

    The certificate of the server is the first one in any case: a client takes the key of the handshake from it.
    """
    first = order.between(order.issuer, 1)
    second = order.between(first, 2)
    return Chain(order.server(second), [first, second])


def _revoked(order: Order) -> Chain:
    extensions: list[x509.ExtensionType] = []
    if order.crl_url:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(order.crl_url)], None, None, None)
        extensions.append(x509.CRLDistributionPoints([point]))
    if order.ocsp_url:
        responder = x509.UniformResourceIdentifier(order.ocsp_url)
        description = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, responder)
        extensions.append(x509.AuthorityInformationAccess([description]))
    name, serial = common_name(order.names), revocation.revoked_serial(order.issuer)
    return Chain(
        issue(
            name, Purpose.SERVER, order.issuer, order.names, order.now, DAYS, serial=serial, extensions=extensions
        )
    )  # fmt: skip


def _weak_key(order: Order) -> Chain:
    key = rsa.generate_private_key(65_537, WEAK_BITS)
    return Chain(issue(common_name(order.names), Purpose.SERVER, order.issuer, order.names, order.now, DAYS, key=key))


def _wrong_purpose(order: Order) -> Chain:
    return Chain(issue(common_name(order.names), Purpose.CLIENT, order.issuer, order.names, order.now, DAYS))


def _many_names(order: Order) -> Chain:
    """The right names are the last ones."""
    names = [*(f"host-{number:04}.many-names.invalid" for number in range(MANY)), *order.names]
    return Chain(issue(common_name(order.names), Purpose.SERVER, order.issuer, names, order.now, DAYS))


def _huge_chain(order: Order) -> Chain:
    text = b"." * BULK
    comment = x509.UnrecognizedExtension(_COMMENT, b"\x16\x82" + len(text).to_bytes(2, "big") + text)  # IA5String
    issuers = [order.issuer]
    for number in range(1, BULKY + 1):
        issuers.append(order.between(issuers[-1], number, comment))
    return Chain(order.server(issuers[-1]), issuers[:0:-1])


MAKERS: Final[Mapping[str, Make]] = MappingProxyType(
    {
        "expired": _expired,
        "not-yet-valid": _not_yet_valid,
        "wrong-host": _wrong_host,
        "self-signed": _self_signed,
        "untrusted": _untrusted,
        "incomplete-chain": _incomplete_chain,
        "reversed-chain": _reversed_chain,
        "revoked": _revoked,
        "weak-key": _weak_key,
        "wrong-purpose": _wrong_purpose,
        "many-names": _many_names,
        "huge-chain": _huge_chain,
    }
)
"""A function for each word of `certificate`."""


def may_issue(issuer: Issued) -> str | None:
    """Why `issuer` cannot sign every certificate here, or None."""
    try:
        constraints = issuer.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return "it is not a certificate of an authority"
    if not constraints.ca:
        return "it is not a certificate of an authority"
    if constraints.path_length is not None and constraints.path_length < BULKY:
        return "it may not sign other authorities (path length); make one with echoctl certificates"
    return None
