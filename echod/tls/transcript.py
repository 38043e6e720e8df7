"""The messages of one handshake, as OpenSSL reports them: certificates, requests and alerts, also of a failed one.

The `ssl` module gives the peer's certificate only after a successful handshake, and no numbers of alerts. Its message
callback is called with each message as soon as it is received, decrypted, but not yet checked: all parsing here accepts
any bytes. Pure.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

HANDSHAKE, ALERT = 22, 21  # content types (RFC 8446 B.1)
CLIENT_HELLO, SERVER_HELLO, CERTIFICATE, CERTIFICATE_REQUEST, FINISHED = (
    1,
    2,
    11,
    13,
    20,
)  # message types (RFC 8446 B.3)
HELLO_RETRY_REQUEST: Final = sha256(b"HelloRetryRequest").digest()
"""The random value of a ServerHello that asks for a ClientHello with a key of another group (RFC 8446 4.1.3)."""
TLS_1_3: Final = 0x0304
FATAL: Final = 2  # level of an alert (RFC 8446 6)
MOST_CERTIFICATES: Final = 32  #: of a chain; OpenSSL accepts at most 100 by default

ALERTS: Final = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    22: "record_overflow",
    40: "handshake_failure",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    112: "unrecognized_name",
    113: "bad_certificate_status_response",
    115: "unknown_psk_identity",
    116: "certificate_required",
    120: "no_application_protocol",
}
"""The descriptions of alerts (RFC 8446 6, RFC 5246 7.2, RFC 7301 3.2)."""


def alert_name(number: int) -> str:
    """The description of an alert; unassigned ones get their number."""
    return ALERTS.get(number, f"alert {number}")


Tell = Callable[[str, "Transcript"], None]
"""Called with the name of each event, such as `ServerHello received`, after it is recorded."""


def silent(_event: str, _transcript: Transcript) -> None:
    """Ignore an event."""


class Transcript:
    """The messages of one side of a connection."""

    def __init__(self) -> None:
        self.presented: list[bytes] = []  #: the certificates of the peer in DER, as sent: its own first
        self.greeted = False  #: the ServerHello was received
        self.finished = False  #: the handshake is complete on our side
        self.certificate_requested = False  #: the peer asked for a certificate
        self.alert: int | None = None  #: the last fatal alert of the peer
        self.tell: Tell = silent

    def message(self, received: bool, version: int, content: int, data: bytes) -> None:
        """Record one message of content type `content`. Other types are ignored."""
        if content == HANDSHAKE and data:
            self._handshake(received, version, data)
        elif content == ALERT and len(data) == 2:
            if received and data[0] == FATAL:
                self.alert = data[1]
            name = alert_name(data[1])
            self.tell(f"{name} {'received' if received else 'sent'}", self)

    def _handshake(self, received: bool, version: int, data: bytes) -> None:
        kind = data[0]
        if kind == CLIENT_HELLO and not received:
            self.tell("ClientHello sent", self)
        elif kind == SERVER_HELLO and received:
            self.greeted = True
            retried = data[6:38] == HELLO_RETRY_REQUEST
            self.tell("HelloRetryRequest received" if retried else "ServerHello received", self)
        elif kind == CERTIFICATE_REQUEST and received:
            self.certificate_requested = True
            self.tell("CertificateRequest received", self)
        elif kind == CERTIFICATE and received:
            self.presented = certificates_in(data, has_context=version >= TLS_1_3)
            self.tell("Certificate received", self)
        elif kind == CERTIFICATE:
            self.tell("Certificate sent", self)
        elif kind == FINISHED and not received:
            self.finished = True


def certificates_in(message: bytes, *, has_context: bool) -> list[bytes]:
    """The certificates in a Certificate message, in DER; those before the first malformed one.

    In TLS 1.3 a context precedes the list, and extensions follow each certificate (`has_context`; RFC 8446 4.4.2,
    RFC 5246 7.4.2).
    """
    at = 4
    if has_context:
        at += 1 + (message[at] if at < len(message) else 0)
    at += 3  # the length of the list; each certificate has its own length
    found: list[bytes] = []
    while at + 3 <= len(message) and len(found) < MOST_CERTIFICATES:
        size = int.from_bytes(message[at : at + 3], "big")
        certificate = message[at + 3 : at + 3 + size]
        if not size or len(certificate) < size:
            break
        found.append(certificate)
        at += 3 + size
        if has_context:
            at += 2 + int.from_bytes(message[at : at + 2], "big")
    return found


class Observed:
    """The object of a connection, with its transcript."""

    _transcript: Transcript | None = None

    @property
    def transcript(self) -> Transcript:
        """The messages so far."""
        if self._transcript is None:
            self._transcript = Transcript()
        return self._transcript


class ObservedTLS(Observed, ssl.SSLObject):
    """TLS between two MemoryBIOs."""


class ObservedSocket(Observed, ssl.SSLSocket):
    """TLS on a socket."""


def observe(context: ssl.SSLContext, tell: Tell = silent) -> None:
    """Let a context record the messages of each object that it creates, an ObservedTLS or an ObservedSocket."""

    def message(tls: Any, direction: str, version: int, content: int, _kind: int, data: bytes) -> None:
        transcript: Transcript = tls.transcript
        transcript.tell = tell
        transcript.message(direction == "read", int(version), int(content), data)

    context.sslobject_class = ObservedTLS
    context.sslsocket_class = ObservedSocket
    context._msg_callback = message  # type: ignore[attr-defined] # the only way to see a refused certificate
