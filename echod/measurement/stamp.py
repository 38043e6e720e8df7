"""The test packets of STAMP (RFC 8762), and of TWAMP Light senders (RFC 5357 appendix I).

    unauthenticated request, 44 bytes     authenticated request, 112 bytes
     0 sequence number                     0 sequence number
     4 timestamp T1                        4 MBZ
    12 Error Estimate                     16 timestamp T1
    14 SSID (RFC 8972 3)                  24 Error Estimate
    16 MBZ                                26 SSID
                                          28 MBZ
                                          96 HMAC

    unauthenticated reply, 44 bytes       authenticated reply, 112 bytes
     0 sequence number                     0 sequence number
     4 timestamp T3                        4 MBZ
    12 Error Estimate                     16 timestamp T3
    14 SSID                               24 Error Estimate
    16 receive timestamp T2               26 SSID, 28 MBZ
    24 sequence number of the request     32 receive timestamp T2, 40 MBZ
    28 T1 of the request                  48 sequence number of the request, 52 MBZ
    36 Error Estimate of the request      64 T1 of the request
    38 MBZ                                72 Error Estimate of the request, 74 MBZ
    40 TTL of the request                 80 TTL of the request, 81 MBZ
    41 MBZ                                96 HMAC

MBZ is zero when sent, and ignored when received. Everything after the base packet is padding or TLVs
(`echod.measurement.stamp_tlvs`). A TWAMP Light request has the first 14 bytes and padding, and the reply to it has the
first 41 bytes of a STAMP reply (RFC 8762 4.6). Some reflectors leave out the last three, with the TTL.

The HMAC is HMAC-SHA-256, truncated to its first 16 bytes, over the 96 bytes before it (RFC 8762 4.4).
"""

from __future__ import annotations

import hmac
import struct
from typing import Final, NamedTuple, Protocol

PORT: Final = 862  #: the UDP port of STAMP reflectors (RFC 8762 4.1)
BASE: Final = 44  #: bytes of an unauthenticated packet
AUTHENTICATED_BASE: Final = 112  #: bytes of an authenticated packet
TWAMP_LIGHT_REQUEST: Final = 14  #: bytes of the shortest TWAMP Light request
TWAMP_LIGHT_REPLY: Final = 41  #: bytes of the shortest TWAMP Light reply
REPLY_WITHOUT_TTL: Final = 38  #: bytes of the shortest reply that is parsed
HMAC_SIZE: Final = 16
COVERED: Final = 96  #: bytes of an authenticated packet that its HMAC covers
UNKNOWN_TTL: Final = 255  #: the TTL of a request that the reflector cannot tell (RFC 5357 4.2.1)

_REQUEST: Final = struct.Struct("!IQHH28x")
_TWAMP_LIGHT: Final = struct.Struct("!IQH")
_REPLY: Final = struct.Struct("!IQHHQIQH2xB3x")
_TWAMP_LIGHT_REPLY: Final = struct.Struct("!IQHHQIQH2xB")
_AUTHENTICATED_REQUEST: Final = struct.Struct("!I12xQHH68x")
_AUTHENTICATED_REPLY: Final = struct.Struct("!I12xQHH4xQ8xI12xQH6xB15x")


class Request(NamedTuple):
    """A test packet of a session sender. Timestamp and Error Estimate are the numbers in the packet."""

    sequence: int
    timestamp: int
    error_estimate: int
    ssid: int = 0


class Answer(NamedTuple):
    """A test packet of a session reflector. Timestamps and Error Estimates are the numbers in the packet."""

    sequence: int
    timestamp: int  #: T3: when the reply was sent
    error_estimate: int  #: of T2 and T3
    ssid: int
    received: int  #: T2: when the request was received
    sender_sequence: int
    sender_timestamp: int  #: T1
    sender_error_estimate: int
    ttl: int  #: of the request when it was received


class PacketFormat(Protocol):
    """One of the two modes. Packets are parsed and made without what follows the base packet."""

    base: int  #: bytes of a base packet
    key: bytes | None  #: of the HMAC

    def request(self, packet: Request) -> bytes:
        """The base packet of a request."""

    def parse_request(self, data: bytes) -> Request | None:
        """The request, or None if it is too short or its HMAC is wrong."""

    def answer(self, packet: Answer) -> bytes:
        """The base packet of a reply."""

    def parse_answer(self, data: bytes) -> Answer | None:
        """The reply, or None if it is too short or its HMAC is wrong."""


class Unauthenticated:
    """Packets without an HMAC. Those of TWAMP Light, which are shorter, are parsed too; their SSID is 0."""

    base = BASE
    key: bytes | None = None

    def request(self, packet: Request) -> bytes:
        """The base packet of a request."""
        return _REQUEST.pack(*packet)

    def parse_request(self, data: bytes) -> Request | None:
        """The request, or None if it has fewer than 14 bytes."""
        if len(data) >= BASE:
            return Request(*_REQUEST.unpack_from(data))
        if len(data) >= TWAMP_LIGHT_REQUEST:
            return Request(*_TWAMP_LIGHT.unpack_from(data))
        return None

    def answer(self, packet: Answer) -> bytes:
        """The base packet of a reply."""
        return _REPLY.pack(*packet)

    def parse_answer(self, data: bytes) -> Answer | None:
        """The reply, or None if it has fewer than 38 bytes. With fewer than 41 it has no TTL, which is unknown."""
        if len(data) < REPLY_WITHOUT_TTL:
            return None
        return Answer(*_TWAMP_LIGHT_REPLY.unpack_from(data.ljust(TWAMP_LIGHT_REPLY, bytes([UNKNOWN_TTL]))))


class Authenticated:
    """Packets with an HMAC by `key`, which both ends know."""

    base = AUTHENTICATED_BASE

    def __init__(self, key: bytes) -> None:
        self.key: bytes | None = key
        self._keyed = hmac.new(key, digestmod="sha256")  # the key is processed once

    def request(self, packet: Request) -> bytes:
        """The base packet of a request."""
        return self._signed(_AUTHENTICATED_REQUEST.pack(*packet))

    def parse_request(self, data: bytes) -> Request | None:
        """The request, or None if it has fewer than 112 bytes or its HMAC is wrong."""
        return Request(*_AUTHENTICATED_REQUEST.unpack_from(data)) if self._is_signed(data) else None

    def answer(self, packet: Answer) -> bytes:
        """The base packet of a reply."""
        return self._signed(_AUTHENTICATED_REPLY.pack(*packet))

    def parse_answer(self, data: bytes) -> Answer | None:
        """The reply, or None if it has fewer than 112 bytes or its HMAC is wrong."""
        return Answer(*_AUTHENTICATED_REPLY.unpack_from(data)) if self._is_signed(data) else None

    def _signed(self, covered: bytes) -> bytes:
        return covered + self._hmac(covered)

    def _is_signed(self, data: bytes) -> bool:
        if len(data) < AUTHENTICATED_BASE:
            return False
        return hmac.compare_digest(self._hmac(data[:COVERED]), data[COVERED:AUTHENTICATED_BASE])

    def _hmac(self, covered: bytes) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(covered)
        return keyed.digest()[:HMAC_SIZE]


def truncated_hmac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA-256 of the joined parts, truncated to 16 bytes."""
    return hmac.digest(key, b"".join(parts), "sha256")[:HMAC_SIZE]
