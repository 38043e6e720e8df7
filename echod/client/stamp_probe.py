"""Probes over UDP that are STAMP test packets (RFC 8762), and the recognition of their replies. Pure.

An echo service returns such a packet unchanged, `upper` changes the bytes of small letters in it, a STAMP or TWAMP
Light reflector fills in its own times, and UDPEchoPlus (TR-143) overwrites bytes 4 to 19. So one probe serves all, and
its reply shows which service has replied.

A probe of fewer than 44 bytes is a TWAMP Light packet: 14 bytes and padding. After the 44 bytes follow a Class of
Service TLV, if a DSCP is requested, a Direct Measurement TLV, if 16 bytes are left, and Extra Padding with random bytes
that differ from probe to probe.
"""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Sequence
from enum import Enum
from itertools import product
from typing import Final, NamedTuple

from echod.measurement.clock_quality import CachedClockQuality
from echod.measurement.reflector_tokens import SIZE
from echod.measurement.stamp import (
    BASE,
    TWAMP_LIGHT_REPLY,
    TWAMP_LIGHT_REQUEST,
    Answer,
    Authenticated,
    PacketFormat,
    Request,
    Unauthenticated,
)
from echod.measurement.stamp_tlvs import (
    CLASS_OF_SERVICE,
    DIRECT_MEASUREMENT,
    EXTRA_PADDING,
    HEADER,
    TOKEN,
    Tlv,
    answered_tlvs,
    class_of_service,
    class_of_service_of,
    counters_of,
    direct_measurement,
    tlv,
    tlvs_of,
    token_in,
)
from echod.measurement.timestamps import error_estimate, ntp

_MARK: Final = 16  #: bytes that identify a probe: number, timestamp, Error Estimate, SSID
_AUTHENTICATED_MARK: Final = 28  #: the same in authenticated mode, which has a gap after the number
_TURN: Final = 251  #: probes after which the filling repeats; a prime, so that a shifted reply differs for every size
_SERVER_FIELDS: Final = struct.Struct("!IIII")  # of TR-143, in bytes 4 to 19
_LONGEST_PROCESSING: Final = 10_000_000  #: microseconds
_MOST_FAILURES: Final = 0xFFFF
_MEASUREMENT: Final = len(direct_measurement(0))
_REQUEST_OF_DSCP: Final = len(class_of_service(0))


class Replier(Enum):
    """The kinds of services that a reply shows."""

    ECHO = "echo"
    REFLECTOR = "reflector"
    UDPECHOPLUS = "udpechoplus"


class Recognized(NamedTuple):
    """A correct reply."""

    replier: Replier
    number: int  #: of the probe
    answer: Answer | None = None  #: of a reflector
    counters: tuple[int, int] | None = None  #: of a reflector: packets received and sent, if it counts them
    processing: float | None = None  #: of UDPEchoPlus: seconds between receiving and replying
    dscp: tuple[int, int, int, int] | None = None  #: of a reflector: as `class_of_service_of`
    reply_number: int = 0  #: of UDPEchoPlus: its replies so far, this one included; modulo 2^32


class StampProbes:
    """The probes of one ping. Their sizes are `sizes`, in turn; the first probe has number 1 and sequence number 0.

    `remembered` probes can be recognized: their timestamps are kept. With a `key` they are authenticated. `dscp` is
    requested for the replies.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        chance: random.Random,
        quality: CachedClockQuality,
        *,
        remembered: int,
        key: bytes | None = None,
        token: bool = False,
        dscp: int | None = None,
    ) -> None:
        self.sizes = sizes
        self.ssid = chance.randrange(1, 2**16)
        self._format: PacketFormat = Unauthenticated() if key is None else Authenticated(key)
        self._mark = _MARK if key is None else _AUTHENTICATED_MARK
        self._quality = quality
        self._dscp = dscp if key is None else None  # an authenticated packet would need an HMAC of the TLV
        self.token: bytes | None = bytes(SIZE) if token else None  #: the last one from the reflector
        self._filling = chance.randbytes(max(sizes) + _TURN)
        self._remembered = remembered
        self._timestamps = array("Q", bytes(8 * remembered))
        self._estimates = array("H", bytes(2 * remembered))

    def size(self, number: int) -> int:
        """The bytes of the probe with this number."""
        return self.sizes[(number - 1) % len(self.sizes)]

    def request(self, number: int, now_ns: int) -> bytes:
        """The probe with this number, sent at `now_ns`, in nanoseconds since 1970."""
        synchronized, error = self._quality()
        self._timestamps[number % self._remembered] = ntp(now_ns)
        self._estimates[number % self._remembered] = error_estimate(error, synchronized=synchronized).word
        return self._packet(number)

    def recognize(self, data: bytes, sent: int) -> Recognized | str:
        """The correct reply to one of the first `sent` probes, or a description of the error."""
        if len(data) < TWAMP_LIGHT_REQUEST:
            return "it belongs to no probe of this ping"
        answer = self._format.parse_answer(data)
        if answer is not None and self._is_answer_to(answer.sender_sequence + 1, answer, sent):
            return self._reflected(answer.sender_sequence + 1, answer, data)
        number = int.from_bytes(data[:4], "big") + 1
        if self._is_known(number, sent) and data == self._packet(number):
            return Recognized(Replier.ECHO, number)
        for changed in self._in_upper_case(data):
            if self._is_known(changed, sent) and data == self._packet(changed).upper():
                return Recognized(Replier.ECHO, changed)
        if self._is_known(number, sent):
            request = self._packet(number)
            same = len(data) == len(request) >= BASE and data[:4] + data[20:] == request[:4] + request[20:]
            if same and (processing := _processing(data)) is not None:
                reply_number = int.from_bytes(data[4:8], "big")
                return Recognized(Replier.UDPECHOPLUS, number, processing=processing, reply_number=reply_number)
        return self._error(data, int.from_bytes(data[:4], "big") + 1, sent)

    def is_of(self, data: bytes, sent: int) -> int | None:
        """The number of the probe that a wrong reply begins like, or None."""
        number = int.from_bytes(data[:4], "big") + 1
        if len(data) < self._mark or not self._is_known(number, sent):
            return None
        return number if data[: self._mark] == self._packet(number)[: self._mark] else None

    def _packet(self, number: int) -> bytes:
        size, at = self.size(number), number % self._remembered
        request = Request(number - 1, self._timestamps[at], self._estimates[at], self.ssid)
        packet = self._format.request(request)
        begin = number % _TURN
        if size < BASE:
            return packet[:TWAMP_LIGHT_REQUEST] + self._filling[begin : begin + size - TWAMP_LIGHT_REQUEST]
        if self.token is not None:
            packet += tlv(TOKEN, self.token)
        if self._dscp is not None and size - len(packet) >= _REQUEST_OF_DSCP:
            packet += class_of_service(self._dscp)
        rest = size - len(packet)
        if self._format.key is None and (rest == _MEASUREMENT or rest >= _MEASUREMENT + HEADER):
            packet += direct_measurement(number)
            rest -= _MEASUREMENT
        if rest < HEADER:
            return packet + bytes(rest)
        return packet + tlv(EXTRA_PADDING, self._filling[begin : begin + rest - HEADER])

    def _is_known(self, number: int, sent: int) -> bool:
        return max(0, sent - self._remembered) < number <= sent

    def _is_answer_to(self, number: int, answer: Answer, sent: int) -> bool:
        at = number % self._remembered
        if not self._is_known(number, sent):
            return False
        # A reflector of TWAMP Light, or of RFC 8762 alone, leaves the SSID out.
        copied = (answer.sender_timestamp, answer.sender_error_estimate)
        if not self._timestamps[at]:  # the number of a probe that was not sent
            return False
        return copied == (self._timestamps[at], self._estimates[at]) and answer.ssid in (self.ssid, 0)

    def _reflected(self, number: int, answer: Answer, data: bytes) -> Recognized | str:
        size = self.size(number)
        base = self._format.base
        if self._has_own_padding(data, size):
            return Recognized(Replier.REFLECTOR, number, answer)
        asked, got = self._packet(number)[base:], data[base:]
        if self.token is not None and (token := token_in(answered_tlvs(got))) is not None:
            self.token = token
            if len(data) == base + HEADER + SIZE:  # the reflector did not know this sender yet
                return Recognized(Replier.REFLECTOR, number, answer)
        if len(data) != size:
            return f"{size} bytes were sent"
        counters = dscp = None
        expected, found = tlvs_of(asked), answered_tlvs(got)
        if len(expected) != len(found) or any(not _answers(*pair) for pair in zip(expected, found, strict=True)):
            return "its padding is not that of the probe"
        for each in found:
            if each.kind == DIRECT_MEASUREMENT and not each.flags:
                counters = counters_of(each.value)[1:]
            elif each.kind == CLASS_OF_SERVICE and not each.flags:
                dscp = class_of_service_of(each.value)
        return Recognized(Replier.REFLECTOR, number, answer, counters, dscp=dscp)

    def _has_own_padding(self, data: bytes, size: int) -> bool:
        """Whether a reply is one of TWAMP Light, whose reflectors may choose size and padding (RFC 5357 4.2.1).

        A STAMP reflector returns the size and the padding of the probe, so here only zeros count as own padding.
        """
        if size < BASE:
            return True
        return self._format.key is None and self.token is None and not any(data[TWAMP_LIGHT_REPLY:])

    def _in_upper_case(self, data: bytes) -> list[int]:
        """The numbers of probes whose sequence numbers `upper` would have changed to that of `data`."""
        ways = [(byte, byte + 0x20) if 0x41 <= byte <= 0x5A else (byte,) for byte in data[:4]]
        return [int.from_bytes(bytes(way), "big") + 1 for way in product(*ways)]

    def _error(self, data: bytes, number: int, sent: int) -> str:
        if self.is_of(data, sent) is None:
            wrong = self._format.key is not None and self._format.parse_answer(data) is None
            return "its HMAC is wrong" if wrong else "it belongs to no probe of this ping"
        right = self._packet(number)
        for position, (is_, should_be) in enumerate(zip(data, right, strict=False)):
            if is_ != should_be:
                return f"byte {position} is 0x{is_:02x}, expected 0x{should_be:02x}"
        return f"{len(right)} bytes were sent"


def _answers(asked: Tlv, got: Tlv) -> bool:
    """Whether one TLV of a reply can be the answer to that of a probe."""
    if (asked.kind, asked.length) != (got.kind, got.length):
        return False
    return asked.kind != EXTRA_PADDING or asked.value == got.value


def _processing(data: bytes) -> float | None:
    """The seconds between both timestamps of UDPEchoPlus, which are microseconds modulo 2^32.

    None if the fields of the server are implausible: then the reply is a damaged echo.
    """
    number, received, replied, failures = _SERVER_FIELDS.unpack_from(data, 4)
    microseconds = (replied - received) & 0xFFFF_FFFF
    if not number or failures > _MOST_FAILURES or microseconds > _LONGEST_PROCESSING:
        return None
    return float(microseconds) / 1e6
