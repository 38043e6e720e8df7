"""UDPEchoPlus (TR-143 appendix A.1): echo whose replies have numbers and timestamps of the server, for modems."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from echod.model import Arrival, Context, Peer, Service

PREFIX: Final = 24  #: bytes: TestGenSN, TestRespSN, two timestamps, TestRespReplyFailureCount, TestIterationNumber
_SERVER_FIELDS: Final = struct.Struct("!IIII")  # the four in the middle
_CLIENTS: Final = 10_000  #: clients whose counters are kept with `counters = "client"`


@dataclass(frozen=True)
class UDPEchoPlusOptions:
    """The keys of a udpechoplus service."""

    counters: Literal["service", "client"] = field(
        default="service", metadata={"help": "number the replies of the service together, as TR-143, or of each client"}
    )


class Counters:
    """Replies that were sent, and replies that were not."""

    __slots__ = ("failed", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.failed = 0


class UDPEchoPlus(Service):
    """Sends each datagram back with numbers and times in it. One of fewer than 24 bytes is returned unchanged."""

    kind = "udpechoplus"
    summary = "sends datagrams back with timestamps and counters (TR-143)"
    Options = UDPEchoPlusOptions
    streams = False

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self._counters: OrderedDict[object, Counters] = OrderedDict()

    def datagram(self, request: bytes, peer: Peer, arrival: Arrival, reply: Callable[[bytes], object]) -> None:
        """Reply to one datagram, and count whether that was possible."""
        wall_clock_ns = self.context.wall_clock_ns
        received_ns = wall_clock_ns() if arrival.received_ns is None else arrival.received_ns
        if len(request) < PREFIX:
            reply(request)
            return
        counters = self._counters_of(peer)
        number = counters.sent + 1
        fields = _SERVER_FIELDS.pack(
            number & 0xFFFF_FFFF, _microseconds(received_ns), _microseconds(wall_clock_ns()), counters.failed
        )
        if reply(request[:4] + fields + request[20:]) is False:
            counters.failed += 1
        else:
            counters.sent = number

    def answer(self, datagram: bytes, peer: Peer) -> bytes | None:
        """The reply without the kernel's facts of the arrival."""
        replies: list[bytes] = []
        self.datagram(datagram, peer, Arrival(), replies.append)
        return replies[0]

    def _counters_of(self, peer: Peer) -> Counters:
        key = peer.remote if self.options.counters == "client" else None
        counters = self._counters.get(key)
        if counters is None:
            counters = self._counters[key] = Counters()
            if len(self._counters) > _CLIENTS:
                self._counters.popitem(last=False)
        self._counters.move_to_end(key)
        return counters


def _microseconds(nanoseconds: int) -> int:
    """The microseconds of a time, modulo 2^32: they repeat after 71 minutes and 35 seconds."""
    return nanoseconds // 1000 & 0xFFFF_FFFF
