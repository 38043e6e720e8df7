"""Verification of a server by a client, and the words for each way in which it fails.

OpenSSL verifies the chain, the validity and the purpose; service-identity compares the names (RFC 9525). Each message
says which check failed, what was presented and what was expected. Pure, except that a context reads its files.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from echod.escaping import clipped, counted, system_error
from echod.tls.certificate_facts import CertificateFacts, facts_of, facts_of_der, lenient, parsed
from echod.tls.days_left import days_left
from echod.tls.issuing import dns_name
from echod.tls.transcript import Tell, Transcript, alert_name, observe, silent

# OpenSSL's verification errors (<openssl/x509_vfy.h>)
NOT_YET_VALID, EXPIRED, REVOKED, PURPOSE = 9, 10, 23, 26
UNKNOWN_ISSUER = {2, 7, 18, 19, 20, 21, 27, 30}
SELF_SIGNED = 18

BAD_CERTIFICATE = {42, 43, 44, 45, 46, 48}  # alerts about the certificate that we presented
HANDSHAKE_FAILURE, ACCESS_DENIED, PROTOCOL_VERSION, UNRECOGNIZED_NAME = 40, 49, 70, 112
CERTIFICATE_REQUIRED, NO_APPLICATION_PROTOCOL = 116, 120

NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"}
"""Reasons of OpenSSL for a first record that is not one of TLS. They are those of later records, too."""
OLD_VERSION = {"UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW"}


@dataclass(frozen=True)
class Expectations:
    """The settings of a client for the server's identity, and for its own."""

    host: str = ""  #: the expected name: a DNS name, or an IP address
    ca: str = ""  #: a file of trusted certificates, and of CRLs to check; empty is the system's
    certificate: str = ""  #: a file with our certificate
    key: str = ""  #: a file with its key; empty if that is in `certificate`
    alpn: tuple[str, ...] = ()
    verified: bool = True  #: False accepts any server


class Unfit(ValueError):
    """A file of the expectations cannot be used; the message names it."""


def client_context(expected: Expectations, tell: Tell = silent) -> ssl.SSLContext:
    """A context for connections of a client, TLS 1.2 or newer. Its objects are ObservedTLS. Raises Unfit.

    The name is not verified by OpenSSL, but by `verify_name` after the handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not expected.verified:
        context.verify_mode = ssl.CERT_NONE
    elif expected.ca:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the user trusts this certificate, root or not
        try:
            context.load_verify_locations(_readable(expected.ca))
            if context.cert_store_stats()["crl"]:
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        except ssl.SSLError:
            raise Unfit(f"{clipped(expected.ca)}: contains no certificate in PEM") from None
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if expected.certificate:
        _present(context, expected.certificate, expected.key)
    if expected.alpn:
        context.set_alpn_protocols(list(expected.alpn))
    observe(context, tell)
    return context


def _present(context: ssl.SSLContext, certificate: str, key: str) -> None:
    def encrypted() -> str:
        raise Unfit(f"{clipped(key or certificate)}: the private key is encrypted; expected one without a passphrase")

    try:
        context.load_cert_chain(_readable(certificate), _readable(key) if key else None, encrypted)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            wrong = f"{clipped(key or certificate)}: the private key is not that of {clipped(certificate)}"
        else:
            pair = f"in PEM, and a private key in PEM in {clipped(key)}"
            both = f"a certificate {pair}" if key else "a certificate and its private key in PEM; see --key"
            wrong = f"{clipped(certificate)}: expected {both}"
        raise Unfit(wrong) from None


def _readable(file: str) -> str:
    """The name of a file that can be read. The errors of `ssl` do not name it. Raises Unfit."""
    try:
        with open(file, "rb"):
            return file
    except OSError as error:
        raise Unfit(f"{clipped(file)}: {system_error(error)}") from None


def server_name(host: str) -> str | None:
    """The name to send in the ClientHello (SNI): a DNS name in ASCII; None for an IP address (RFC 6066 3).

    Raises ValueError if `host` is not a name.
    """
    if ip_address(host) is not None:
        return None
    if host.startswith("*"):
        raise ValueError(f"{clipped(host)} is not the name of one server")
    return dns_name(host)


def ip_address(host: str) -> str | None:
    """An IP address in its normal form, without brackets and scope; None for a name."""
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]").partition("%")[0]))
    except ValueError:
        return None


def verify_name(der: bytes, host: str) -> str | None:
    """Compare the names of the server's certificate with the expected one. Returns the error, or None."""
    try:
        with lenient():
            certificate = parsed(der)
            return _mismatch(certificate, facts_of(certificate), host)
    except ValueError as error:
        return f"malformed certificate: {clipped(str(error))}"


def _mismatch(certificate: x509.Certificate, facts: CertificateFacts, host: str) -> str | None:
    try:
        if (address := ip_address(host)) is None:
            verify_certificate_hostname(certificate, dns_name(host))
        else:
            verify_certificate_ip_address(certificate, address)
    except VerificationError:
        expected = f"expected {clipped(host)}; see --server-name, --insecure"
        return f"wrong certificate name: presented {facts.listed}, {expected}"
    except CertificateError:
        what = f"malformed names ({facts.listed})" if facts.names else "no names (subjectAltName)"
        return (
            f"wrong certificate name: {facts.subject or 'the certificate'} has {what}, expected {clipped(host)};"
            " see --insecure"
        )
    return None


def explained(error: ssl.SSLError, transcript: Transcript, expected: Expectations, now: datetime | None = None) -> str:
    """The error of a handshake, or of a read after it, in words: one printable line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrusted(error, transcript, expected, now or datetime.now(UTC))
    if transcript.alert is not None:
        return _refused(transcript.alert, transcript, expected)
    reason: str = getattr(error, "reason", None) or ""
    if reason in OLD_VERSION:
        return "old protocol version: the server chose one before TLS 1.2, expected TLS 1.2 or 1.3"
    if reason == "EXCESSIVE_MESSAGE_SIZE":
        return "certificate chain too large: the server presents more than OpenSSL accepts (100 KiB)"
    if reason == "UNEXPECTED_MESSAGE" and not transcript.greeted:
        return "not a TLS server: it sent no ServerHello; an echo service without TLS returns the ClientHello"
    if reason in NOT_TLS and not transcript.greeted:
        return "not a TLS server: its first bytes are not a TLS record; tcp:// and ws:// have no TLS"
    return f"TLS error: {clipped(reason.lower().replace('_', ' ') or str(error))}"


def _distrusted(
    error: ssl.SSLCertVerificationError, transcript: Transcript, expected: Expectations, now: datetime
) -> str:
    chain = _chain(transcript)
    if not chain:
        return f"certificate refused: {clipped(error.verify_message)}; see --insecure"
    code, leaf = error.verify_code, chain[0]
    if code == EXPIRED:
        late = next((facts for facts in chain if facts.until < now), None)
        if late is not None:
            return f"certificate expired: {_named(late)} was valid until {_moment(late.until, now)}; see --insecure"
        return f"certificate expired: a trusted certificate that issued {_named(leaf)} is too old; see --ca, --insecure"
    if code == NOT_YET_VALID:
        early = next((facts for facts in chain if facts.since > now), leaf)
        moment = _moment(early.since, now)
        return f"certificate not yet valid: {_named(early)} is valid from {moment}; check the clocks; see --insecure"
    if code == REVOKED:
        return f"certificate revoked: {_named(leaf)} is in the CRL of its issuer {leaf.issuer}; see --ca, --insecure"
    if code == PURPOSE:
        purposes = ", ".join(leaf.purposes) or "other uses (keyUsage)"
        return f"wrong certificate purpose: {_named(leaf)} is for {purposes}, expected TLS servers; see --insecure"
    if code in UNKNOWN_ISSUER:
        trusted = f"an issuer in {clipped(expected.ca)}" if expected.ca else "an issuer that the system trusts"
        presented = "is self-signed" if code == SELF_SIGNED else f"is issued by {chain[-1].issuer or 'an empty name'}"
        more = f" ({len(chain)} certificates presented)" if len(chain) > 1 else ""
        return (
            f"certificate not trusted: {_named(leaf)} {presented}{more}, expected {trusted};"
            f" see {'' if expected.ca else '--ca, '}--insecure"
        )
    return f"certificate refused: {_named(leaf)}: {clipped(error.verify_message)}; see --insecure"


def _refused(alert: int, transcript: Transcript, expected: Expectations) -> str:
    """The words for a fatal alert of the server."""
    said = f"the server refused the handshake ({alert_name(alert)})"
    asked, given = transcript.certificate_requested, bool(expected.certificate)
    if alert == CERTIFICATE_REQUIRED or (alert == HANDSHAKE_FAILURE and asked and not given):
        return f"{said}: it requires a client certificate, and none was presented; see --cert, --key"
    if (alert in BAD_CERTIFICATE or alert in (HANDSHAKE_FAILURE, ACCESS_DENIED)) and asked and given:
        return f"{said}: it does not accept the client certificate of {clipped(expected.certificate)}"
    if alert == PROTOCOL_VERSION:
        return f"{said}: it supports neither TLS 1.2 nor TLS 1.3"
    if alert == NO_APPLICATION_PROTOCOL:
        offered = ", ".join(expected.alpn) or "no protocol"
        return f"{said}: it supports none of the offered ALPN protocols: {clipped(offered)}; see --alpn"
    if alert == UNRECOGNIZED_NAME:
        return f"{said}: it does not serve the name {clipped(expected.host)}; see --server-name"
    if alert == HANDSHAKE_FAILURE:
        return f"{said}: both sides have no cipher or no parameters in common"
    return said if not transcript.finished else f"the server ended the connection ({alert_name(alert)})"


def _chain(transcript: Transcript) -> Sequence[CertificateFacts]:
    """The facts of the presented certificates, until one is malformed."""
    chain = []
    for der in transcript.presented:
        try:
            chain.append(facts_of_der(der))
        except ValueError:
            break
    return chain


def _named(facts: CertificateFacts) -> str:
    """The subject of a certificate, or its names if the subject is empty."""
    return facts.subject or facts.listed or f"serial {facts.serial}"


def _moment(when: datetime, now: datetime) -> str:
    days = max(days_left(when, now), days_left(now, when))
    distance = counted(days, "day", "days") if days else "less than a day"
    distance = f"in {distance}" if when > now else f"{distance} ago"
    return f"{when:%Y-%m-%d %H:%M} UTC ({distance})"
