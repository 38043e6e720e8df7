"""Reflector: a STAMP session reflector (RFC 8762, RFC 8972), which answers senders of TWAMP Light too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from echod.escaping import system_error
from echod.in_place_replies import InPlaceReplies
from echod.measurement.clock_quality import CachedClockQuality
from echod.measurement.reflector_sessions import ReflectorSessions
from echod.measurement.reflector_tokens import ReflectorTokens
from echod.measurement.stamp import UNKNOWN_TTL, Answer, Authenticated, PacketFormat, Unauthenticated
from echod.measurement.stamp_in_place import StampInPlace
from echod.measurement.stamp_tlvs import (
    CLASS_OF_SERVICE,
    FIRST_FLAGS,
    TOKEN,
    ReflectorFacts,
    dscp_of_reply,
    has_tlv,
    reflect,
    tlv,
    tlvs_of,
    token_in,
)
from echod.measurement.timestamps import error_estimate, ntp, ptp
from echod.model import Arrival, Context, Peer, Service
from echod.small_files import Unsuitable, read_whole

SHORTEST_KEY: Final = 16  #: bytes: the HMAC has 16


@dataclass(frozen=True)
class ReflectorOptions:
    """The keys of a reflector service."""

    stateful: bool = field(
        default=False, metadata={"help": "number the replies of each session, so that senders find loss by direction"}
    )
    sessions: int = field(
        default=10_000,
        metadata={"help": "maximum number of sessions of a stateful reflector", "least": 1, "most": 1_000_000},
    )
    key: Path | None = field(
        default=None, metadata={"help": "a file with the key of authenticated mode; other packets get no reply"}
    )
    timestamps: Literal["ntp", "ptp"] = field(
        default="ntp", metadata={"help": "the format of timestamps in replies; TWAMP Light senders need ntp"}
    )
    tokens: bool = field(
        default=False, metadata={"help": "reply in full only to senders that prove their address by a token (public)"}
    )
    largest_dscp: int = field(
        default=47,
        metadata={
            "help": "the largest DSCP that a sender may request for its reply; 48 and above are of network control",
            "least": 0,
            "most": 63,
        },
    )


class WrongKey(ValueError):
    """A file cannot be used as a key; the message gives the reason."""


def read_key(file: Path) -> bytes:
    """The key in a file: all its bytes, without one line end at the end. Raises WrongKey."""
    try:
        data = read_whole(file)
    except OSError as error:
        raise WrongKey(system_error(error)) from None
    except Unsuitable as error:
        raise WrongKey(str(error)) from None
    key = data.removesuffix(b"\n").removesuffix(b"\r")
    if len(key) < SHORTEST_KEY:
        raise WrongKey(f"has a key of {len(key)} bytes; expected at least {SHORTEST_KEY}")
    return key


class Reflector(Service):
    """Sends each test packet back with the times of its arrival and of its reply."""

    kind = "reflector"
    summary = "returns STAMP and TWAMP Light test packets with timestamps (RFC 8762)"
    Options = ReflectorOptions
    streams = False

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        key = self.options.key
        self._format: PacketFormat = Unauthenticated() if key is None else Authenticated(read_key(key))
        self._is_ptp = self.options.timestamps == "ptp"
        self._stamp = ptp if self._is_ptp else ntp
        self._quality = CachedClockQuality(self.context.clock)
        self._tokens = ReflectorTokens(self.context.clock) if self.options.tokens else None
        self._sessions = ReflectorSessions(self.options.sessions, self.context.clock) if self.options.stateful else None

    @classmethod
    def configuration_errors(cls, options: Any) -> Iterable[tuple[str, str]]:
        """The error if the file of the key cannot be used, or if tokens are required of packets with an HMAC."""
        if options.key is not None and options.tokens:
            yield "tokens", "true does not fit key, whose HMAC identifies senders already; expected one of them"
        if options.key is not None:
            try:
                read_key(options.key)
            except WrongKey as wrong:
                yield "key", f"{options.key}: {wrong}"

    def take_over_from(self, predecessor: Any) -> None:
        """Continue the sessions: a sender would take a new count for loss."""
        if self._sessions is not None and predecessor._sessions is not None:
            self._sessions.take_over_from(predecessor._sessions)

    def in_place(self) -> InPlaceReplies | None:
        """The replies without key and tokens, for the fast path."""
        if self._tokens is not None or self._format.key is not None:
            return None
        return StampInPlace(self.context.wall_clock_ns, self._quality, self._sessions, is_ptp=self._is_ptp)

    def datagram(self, request: bytes, peer: Peer, arrival: Arrival, reply: Callable[[bytes], object]) -> None:
        """Reply to a test packet. Its receive time is the kernel's; that of the reply is taken last of all."""
        wall_clock_ns = self.context.wall_clock_ns
        received_ns = wall_clock_ns() if arrival.received_ns is None else arrival.received_ns
        packet = self._format.parse_request(request)
        if packet is None:
            return
        rest = request[self._format.base :]
        token = None
        proven = True
        if self._tokens is not None:
            address = str(peer.remote).rpartition(":")[0].encode()
            if (returned := token_in(tlvs_of(rest))) is None:
                return
            token = self._tokens.token(address)
            proven = self._tokens.is_valid(address, returned)
        count = None
        sequence = packet.sequence
        if self._sessions is not None and proven:
            count = self._sessions.receive(((peer.remote, peer.local), packet.ssid))
            sequence = count & 0xFFFF_FFFF
        synchronized, error = self._quality()
        if not proven and token is not None:
            rest = tlv(TOKEN, token, flags=0)
        elif rest:
            total = None if count is None else count + 1
            largest_dscp = 0 if peer.set_traffic_class is None else self.options.largest_dscp
            traffic_class = arrival.traffic_class or 0
            facts = ReflectorFacts(sequence, traffic_class, synchronized, total, total, token, largest_dscp)
            has_dscp = rest[0] == FIRST_FLAGS and has_tlv(rest, CLASS_OF_SERVICE)
            rest = reflect(rest, packet.sequence, facts, self._format.key)
            if has_dscp and peer.set_traffic_class is not None and (dscp := dscp_of_reply(rest)) is not None:
                peer.set_traffic_class(dscp << 2)
        stamp = self._stamp
        estimate = error_estimate(error, synchronized=synchronized, is_ptp=self._is_ptp).word
        ttl = UNKNOWN_TTL if arrival.ttl is None else arrival.ttl
        received = stamp(received_ns)
        answer = self._format.answer(
            Answer(sequence, stamp(wall_clock_ns()), estimate, packet.ssid, received, *packet[:3], ttl)
        )
        reply(answer + rest)

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        """The reply without the kernel's facts of the arrival."""
        replies: list[bytes] = []
        self.datagram(datagram, peer, Arrival(), replies.append)
        return replies[0] if replies else None
