"""The optional TLVs after a STAMP packet (RFC 8972 4), and how a reflector answers them.

    flags (1 byte: U, M, I)   type (1)   length of the value (2)   value

A sender sets U. A reflector clears it in each TLV that it understands, and copies every other TLV. So a sender learns
what a reflector supports, even from one that knows no TLVs and copies everything.

A reflector that meets a TLV with a wrong length sets M in it, and copies the rest. If the HMAC TLV is wrong, missing
or misplaced, it sets I in every TLV and processes none (RFC 8972 4.8). The HMAC covers the sequence number of the
packet and all TLVs before it. Only Extra Padding may follow it.

Padding that is not TLVs (RFC 8762 4.3) is copied unchanged: TLVs begin with a byte 0x80, as the flags of a sender are.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from echod.measurement import reflector_tokens
from echod.measurement.stamp import HMAC_SIZE, truncated_hmac

UNRECOGNIZED, MALFORMED, INTEGRITY = 0x80, 0x40, 0x20
"""The flags U, M and I (RFC 8972 4)."""
FIRST_FLAGS: Final = UNRECOGNIZED  #: the first byte after a base packet if TLVs follow; otherwise it is padding
HEADER: Final = 4  #: bytes before the value
MOST: Final = 64  #: TLVs of a packet that are processed; the kinds are 11. A datagram could hold 16,000

EXTRA_PADDING: Final = 1
TIMESTAMP_INFORMATION: Final = 3
CLASS_OF_SERVICE: Final = 4
DIRECT_MEASUREMENT: Final = 5
HMAC: Final = 8
TOKEN: Final = 253  #: of a public reflector; a type for private use (RFC 8972 5.1)

_FIRST: Final = bytes([FIRST_FLAGS])
_HEADER: Final = struct.Struct("!BBH")
_COUNTERS: Final = struct.Struct("!III")
_SIZES: Final = {
    TIMESTAMP_INFORMATION: 4,
    CLASS_OF_SERVICE: 4,
    DIRECT_MEASUREMENT: 12,
    HMAC: HMAC_SIZE,
    TOKEN: reflector_tokens.SIZE,
}
"""The bytes of values that have a fixed size."""

SYNCHRONIZED, FREE_RUNNING = 1, 5  #: sources of a clock: NTP, and none (RFC 8972 4.3)
SOFTWARE: Final = 2  #: the method of a timestamp: software of the host (RFC 8972 4.3)
NOT_PERMITTED: Final = 1  #: RP of Class of Service: the reply does not have the requested DSCP (RFC 8972 4.4)


class Tlv(NamedTuple):
    """One TLV, in a copy of the bytes after a base packet. Its value may be cut off by the end of the packet."""

    at: int  #: the position of its first byte
    flags: int
    kind: int
    length: int  #: of the value, as the header states it
    value: bytes

    @property
    def is_malformed(self) -> bool:
        """Whether the packet is too short for it, or its kind has values of another size."""
        return len(self.value) != self.length or _SIZES.get(self.kind, self.length) != self.length


class ReflectorFacts(NamedTuple):
    """The facts that a reflector writes into TLVs. A stateless reflector has no counters."""

    sequence: int  #: of the reply
    traffic_class: int  #: of the request: DSCP and ECN
    synchronized: bool  #: whether the reflector's clock follows an external source
    received: int | None = None  #: packets of the session, this one included
    sent: int | None = None  #: replies of the session, this one included
    token: bytes | None = None  #: of this sender; None if the reflector needs none
    largest_dscp: int = 0  #: the largest DSCP that a reply may have by request


def tlv(kind: int, value: bytes, flags: int = UNRECOGNIZED) -> bytes:
    """The bytes of one TLV, with the flags of a sender."""
    return _HEADER.pack(flags, kind, len(value)) + value


def direct_measurement(sent: int) -> bytes:
    """The Direct Measurement TLV of a sender that has sent so many packets, this one included (RFC 8972 4.5)."""
    return tlv(DIRECT_MEASUREMENT, _COUNTERS.pack(sent & 0xFFFF_FFFF, 0, 0))


def counters_of(value: bytes) -> tuple[int, int, int]:
    """Of a Direct Measurement value: packets sent by the sender, received by the reflector, sent by it."""
    sent, received, answered = _COUNTERS.unpack(value)
    return sent, received, answered


def class_of_service(dscp: int) -> bytes:
    """The Class of Service TLV of a sender that requests a DSCP for the reply (RFC 8972 4.4)."""
    return tlv(CLASS_OF_SERVICE, (dscp << 26).to_bytes(4, "big"))


def class_of_service_of(value: bytes) -> tuple[int, int, int, int]:
    """Of a Class of Service value: the requested DSCP, the received DSCP and ECN, and RP."""
    number = int.from_bytes(value, "big")
    return number >> 26, number >> 20 & 0x3F, number >> 18 & 3, number >> 16 & 3


def dscp_of_reply(reflected: bytes) -> int | None:
    """The DSCP that a reply with these TLVs must have; None if its request had no Class of Service TLV (RFC 8972 4.4).

    It is the requested one, or that of the request if the requested one is not permitted.
    """
    for each in answered_tlvs(reflected):
        if each.kind == CLASS_OF_SERVICE and not each.flags:
            requested, received, _, refused = class_of_service_of(each.value)
            return received if refused else requested
    return None


def hmac_tlv(key: bytes, sequence: int, before: bytes) -> bytes:
    """The HMAC TLV of a sender for the TLVs `before` it."""
    return tlv(HMAC, truncated_hmac(key, sequence.to_bytes(4, "big"), before))


def token_in(tlvs: list[Tlv]) -> bytes | None:
    """The token in the TLVs of a packet; None if it has none."""
    return next((each.value for each in tlvs if each.kind == TOKEN and not each.is_malformed), None)


def has_tlv(rest: bytes | memoryview, kind: int) -> bool:
    """Whether `tlvs_of` a packet would include one of a kind. It makes no objects."""
    at = 0
    for _ in range(MOST):
        if len(rest) - at < HEADER:
            return False
        _, found, length = _HEADER.unpack_from(rest, at)
        if found == kind:
            return True
        if _SIZES.get(found, length) != length:
            return False
        at += HEADER + length
    return False


def tlvs_of(rest: bytes) -> list[Tlv]:
    """The TLVs of the bytes after a base packet. The last one may be malformed. Empty if the bytes are padding."""
    return list(_tlvs(rest)) if rest[:1] == _FIRST else []


def answered_tlvs(rest: bytes) -> list[Tlv]:
    """As `tlvs_of`, of a reply: its first TLV may have any flags."""
    return list(_tlvs(rest))


def _tlvs(rest: bytes) -> Iterator[Tlv]:
    at = 0
    for _ in range(MOST):
        if len(rest) - at < HEADER:
            return
        flags, kind, length = _HEADER.unpack_from(rest, at)
        found = Tlv(at, flags, kind, length, rest[at + HEADER : at + HEADER + length])
        yield found
        if found.is_malformed:
            return
        at += HEADER + length


def reflect(rest: bytes, request_sequence: int, facts: ReflectorFacts, key: bytes | None = None) -> bytes:
    """The bytes of a reply after its base packet: as many as the request had. `key` is that of authenticated mode."""
    if rest[:1] != _FIRST:
        return rest
    answer = bytearray(rest)
    if key is not None and not _is_intact(rest, found := tlvs_of(rest), request_sequence, key):
        for each in found:
            answer[each.at] |= INTEGRITY
    else:
        reflect_over(answer, facts, key)
    return bytes(answer)


def reflect_over(tlvs: bytearray | memoryview, facts: ReflectorFacts, key: bytes | None = None) -> None:
    """Write the TLVs of a reply over those of the request, whose HMAC is right if there is a `key`."""
    at, size = 0, len(tlvs)
    for _ in range(MOST):
        if size - at < HEADER:
            return
        _, kind, length = _HEADER.unpack_from(tlvs, at)
        end = at + HEADER + length
        if end > size or _SIZES.get(kind, length) != length:
            tlvs[at] |= MALFORMED
            return
        if kind == EXTRA_PADDING:  # the value stays
            tlvs[at] = 0
        elif kind not in _SIZES or (value := _value(kind, tlvs, at, facts, key)) is None:
            tlvs[at] |= UNRECOGNIZED
        else:
            tlvs[at] = 0
            tlvs[at + HEADER : end] = value
        at = end


def _is_intact(rest: bytes, found: list[Tlv], sequence: int, key: bytes) -> bool:
    """Whether the TLVs of an authenticated request are those that its sender signed."""
    signed = [each for each in found if each.kind == HMAC]
    if not signed:
        return len(found) == 1 and found[0].kind == EXTRA_PADDING  # the only one that needs no HMAC
    after = found[found.index(signed[0]) + 1 :]
    if signed[0].is_malformed or any(each.kind != EXTRA_PADDING for each in after):
        return False
    expected = truncated_hmac(key, sequence.to_bytes(4, "big"), rest[: signed[0].at])
    return hmac.compare_digest(signed[0].value, expected)


def _value(kind: int, tlvs: bytearray | memoryview, at: int, facts: ReflectorFacts, key: bytes | None) -> bytes | None:
    """The value in the reply to the TLV at a position, or None if it is not supported. Those before it are finished."""
    if kind == TIMESTAMP_INFORMATION:
        return bytes([SYNCHRONIZED if facts.synchronized else FREE_RUNNING, SOFTWARE] * 2)
    if kind == CLASS_OF_SERVICE:
        requested = tlvs[at + HEADER] >> 2
        dscp, ecn = facts.traffic_class >> 2, facts.traffic_class & 3
        refused = NOT_PERMITTED if requested > facts.largest_dscp else 0
        return (requested << 26 | dscp << 20 | ecn << 18 | refused << 16).to_bytes(4, "big")
    if kind == DIRECT_MEASUREMENT and facts.received is not None and facts.sent is not None:
        sent = int.from_bytes(tlvs[at + HEADER : at + HEADER + 4], "big")
        return _COUNTERS.pack(sent, facts.received & 0xFFFF_FFFF, facts.sent & 0xFFFF_FFFF)
    if kind == TOKEN:
        return facts.token
    if kind == HMAC and key is not None:
        return truncated_hmac(key, facts.sequence.to_bytes(4, "big"), bytes(tlvs[:at]))
    return None
