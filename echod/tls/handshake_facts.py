"""The facts of a handshake: the negotiated values for services, or the reason of a failure in words."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from hashlib import sha256
from sys import intern
from typing import Final

from echod.escaping import clipped
from echod.tls.certificate_facts import facts_of_der

REASONS: Final[Mapping[str, str]] = {
    "BAD_DECRYPT": "a record is damaged",
    "CALLBACK_FAILED": "it asked for a server name that is not ASCII",  # `server.ServerContexts` never fails
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "a record is damaged",
    "ENCRYPTED_LENGTH_TOO_LONG": "a record is longer than TLS allows",
    "HTTP_REQUEST": "it sent plain HTTP",
    "NO_SHARED_CIPHER": "it offers no cipher suite that is allowed here",
    "NO_SUITABLE_KEY_SHARE": "it offers no key exchange group that is allowed here",
    "NO_SUITABLE_GROUPS": "it offers no key exchange group that is allowed here",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "it supports no signature algorithm of the certificate",
    "PACKET_LENGTH_TOO_LONG": "a record is longer than TLS allows",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it sent no certificate",
    "UNSUPPORTED_PROTOCOL": "it offers no TLS version that is allowed here",
    "VERSION_TOO_LOW": "it offers no TLS version that is allowed here",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "DATA_LENGTH_TOO_LONG": "a record is longer than TLS allows",
}
"""OpenSSL's reasons, in words about the other side."""


def handshake_facts(tls: ssl.SSLObject, server_name: str | None) -> dict[str, object]:
    """Version, cipher suite, server name, ALPN, resumption, client certificate, and group if the library reports it.

    `server_name` is the one that the client asked for.
    """
    cipher = tls.cipher()
    facts: dict[str, object] = {
        "version": tls.version(),
        "cipher": cipher and intern(cipher[0]),  # thousands of connections have the same text
        "server_name": server_name,
        "alpn": tls.selected_alpn_protocol(),
        "resumed": tls.session_reused,
    }
    group = getattr(tls, "group", None)  # from Python 3.15 on
    if group is not None:
        facts["group"] = group()
    if certificate := tls.getpeercert(binary_form=True):
        facts["certificate"] = _certificate(certificate)
    return facts


def _certificate(encoded: bytes) -> dict[str, object]:
    """The facts of a certificate that OpenSSL has verified. `cryptography` refuses a few of these as malformed."""
    try:
        known = facts_of_der(encoded)
    except ValueError:
        return {"sha256": sha256(encoded).hexdigest()}
    until = known.until.isoformat().replace("+00:00", "Z")
    return {
        "subject": known.subject,
        "issuer": known.issuer,
        "names": list(known.names),
        "until": until,
        "sha256": known.fingerprint,
    }


def explained(error: ssl.SSLError) -> str:
    """The words for an error of the other side, for a log line or a message."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    _, alert, named = reason.partition("_ALERT_")
    if alert:
        return f"it sent the alert {named.lower()}"
    return REASONS.get(reason) or (reason.lower().replace("_", " ") if reason else clipped(str(error)))


def not_a_hello(data: bytes) -> str:
    """The words for a client that does not begin a TLS handshake, with its first bytes, for a log line."""
    if data.startswith((b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n")):
        return "it does not speak TLS: it sent a PROXY header, and the address has no ?proxy="
    first = data.split(b"\n", 1)[0].rstrip(b"\r")[:60]
    if first and all(0x20 <= byte < 0x7F for byte in first):
        return f"it does not speak TLS: it sent the text {first.decode('ascii')!r}"
    return f"it does not speak TLS: it sent the bytes {data[:8].hex(' ')}"
