"""Rate limits of replies, for each network and for all together, and the detection of repeated datagrams.

Each limit is a token bucket by the generic cell rate algorithm (ITU-T I.371), as in `echod.gate.buckets`: the time at
which it will be full again. Each datagram uses four of them. Therefore they are plain numbers here, and those of a
network are in one table. Times are seconds on one clock that never steps back.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, Protocol

from echod.gate.buckets import TABLE
from echod.gate.limits import Rate
from echod.gate.refusal import Refusal

BYTES: Final = Rate(262_144, 524_288)  #: bytes of replies to one network: chrony and NSD limit packets only
TOTAL: Final = Rate(50_000, 50_000)  #: replies to all networks together
TOTAL_BYTES: Final = Rate(33_554_432, 33_554_432)

SAME: Final = 64  #: the same datagram this often …
SAME_WITHIN: Final = 1.0  #: … in this many seconds is a loop …
MUTE: Final = 60.0  #: … and its source gets no reply for this many
PREFIX: Final = 64  #: bytes of a datagram that are compared
WATCHED_ABOVE: Final = 0.5  #: the share of its burst that a network must have used to be watched
WATCHED: Final = 4096  #: sources that are watched for repetition at once

_FULL: Final = (0.0, 0.0)  #: of a network that is not in the table


def network_of(key: bytes) -> bytes:
    """The network that shares one rate: an IPv4 /24, or an IPv6 /56 (the usual prefix of one customer; RFC 6177)."""
    return key[:3] if len(key) == 4 else key[:7]


def _interval(rate: Rate) -> float:
    """Seconds between two tokens."""
    return 1 / rate.per_second


def _depth(rate: Rate) -> float:
    """Seconds that a bucket may be from full; with a hundredth of a token, for rounding."""
    return (rate.burst + 0.01) / rate.per_second


_BYTE, _BYTES = _interval(BYTES), _depth(BYTES)
_OF_ALL, _ALL = _interval(TOTAL), _depth(TOTAL)
_BYTE_OF_ALL, _ALL_BYTES = _interval(TOTAL_BYTES), _depth(TOTAL_BYTES)


class Total:
    """The limits of the whole daemon, over all services: the times at which replies and bytes are full again."""

    def __init__(self) -> None:
        self.replies = 0.0
        self.bytes = 0.0

    def take(self, count: int, size: int, now: float) -> bool:
        """Take `count` replies of `size` bytes together, if both are available; False takes nothing."""
        replies_at = (self.replies if self.replies > now else now) + count * _OF_ALL
        bytes_at = (self.bytes if self.bytes > now else now) + size * _BYTE_OF_ALL
        if replies_at - now > _ALL or bytes_at - now > _ALL_BYTES:
            return False
        self.replies, self.bytes = replies_at, bytes_at
        return True


class Elsewhere(Protocol):
    """The use of the rates of networks by other processes of the daemon, which learn the use by this process."""

    def since_last(self, network: bytes) -> tuple[int, int]:
        """The replies and bytes that other processes have taken since the last call for this network."""

    def take(self, network: bytes, count: int, size: int) -> None:
        """Tell other processes that this one takes `count` replies of `size` bytes together."""


class Shares:
    """The rate limits of all networks at one rate.

    With `elsewhere` each process counts what all processes take: a network gets at most its rate in the long run, and
    at most one burst from each process.
    """

    def __init__(self, rate: Rate, total: Total, elsewhere: Elsewhere | None = None) -> None:
        self.rate = rate
        self._interval = _interval(rate)
        self._depth = _depth(rate)
        self._watched = WATCHED_ABOVE * self._depth
        self._total = total
        self._elsewhere = elsewhere
        self._table: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # when replies and bytes are full again
        self._repeats = Repeats()

    def take(self, key: bytes, port: int, datagram: bytes, now: float) -> Refusal | None:
        """Why a datagram gets no reply; or None, and it is counted."""
        source = (key, port)
        if self._repeats.muted(source, now):
            return Refusal.REPEAT
        network = network_of(key)
        if self._elsewhere is not None:
            self._count_elsewhere(network, self._elsewhere)
        replies_at, bytes_at = self._table.get(network, _FULL)
        replies_at = max(replies_at, now)
        if replies_at + self._interval - now > self._depth:  # before its content is looked at
            self._remember(network, replies_at, bytes_at)
            return Refusal.RATE
        if replies_at - now > self._watched and self._repeats.same_again(source, datagram, now):
            return Refusal.REPEAT
        size = len(datagram)
        after = (bytes_at if bytes_at > now else now) + size * _BYTE
        if after - now > _BYTES:
            self._remember(network, replies_at + self._interval, bytes_at)
            return Refusal.BYTES
        self._remember(network, replies_at + self._interval, after)
        if self._elsewhere is not None:
            self._elsewhere.take(network, 1, size)
        return None if self._total.take(1, size, now) else Refusal.TOTAL

    def take_run(self, key: bytes, port: int, count: int, size: int, now: float) -> bool | Refusal:
        """As `take` of each, if the result is the same for all of them, independent of their content; else False."""
        if self._repeats.sources and self._repeats.muted((key, port), now):
            return Refusal.REPEAT
        network = network_of(key)
        if self._elsewhere is not None:
            self._count_elsewhere(network, self._elsewhere)
        replies_at, bytes_at = self._table.get(network, _FULL)
        replies_at = max(replies_at, now)
        after = replies_at + count * self._interval
        if after - now > self._watched:
            if replies_at + self._interval - now <= self._depth:
                return False
            self._remember(network, replies_at, bytes_at)
            return Refusal.RATE
        bytes_at = (bytes_at if bytes_at > now else now) + size * _BYTE
        if bytes_at - now > _BYTES or not self._total.take(count, size, now):
            return False
        self._remember(network, after, bytes_at)
        if self._elsewhere is not None:
            self._elsewhere.take(network, count, size)
        return True

    def _count_elsewhere(self, network: bytes, elsewhere: Elsewhere) -> None:
        """Count what other processes have taken, as if they had taken it right after this process did last."""
        replies, size = elsewhere.since_last(network)
        if replies:
            replies_at, bytes_at = self._table.get(network, _FULL)
            self._remember(network, replies_at + replies * self._interval, bytes_at + size * _BYTE)

    def _remember(self, network: bytes, replies_at: float, bytes_at: float) -> None:
        table = self._table
        table[network] = replies_at, bytes_at
        table.move_to_end(network)
        if len(table) > TABLE:  # forged sources evict the oldest: therefore a total exists
            table.popitem(last=False)


class Repeats:
    """Finds sources that send the same datagram repeatedly: two echo services that reply to each other.

    Only sources above half their rate are checked, so that a probe with a constant payload is not found.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[tuple[bytes, int], int], tuple[int, float]] = OrderedDict()  # count, since
        self.sources: OrderedDict[tuple[bytes, int], float] = OrderedDict()  #: muted sources, and until when

    def muted(self, source: tuple[bytes, int], now: float) -> bool:
        """Whether this source gets no reply now."""
        until = self.sources.get(source)
        if until is None:
            return False
        if now < until:
            return True
        del self.sources[source]
        return False

    def same_again(self, source: tuple[bytes, int], datagram: bytes, now: float) -> bool:
        """Record a datagram; True if it mutes its source."""
        again = (source, hash((datagram[:PREFIX], len(datagram))))
        often, since = self._seen.pop(again, (0, now))
        if now - since > SAME_WITHIN:
            often, since = 0, now
        if often + 1 >= SAME:
            self.sources[source] = now + MUTE
            _forget_oldest(self.sources)
            return True
        self._seen[again] = (often + 1, since)
        _forget_oldest(self._seen)
        return False


def _forget_oldest(table: OrderedDict[Any, Any]) -> None:
    if len(table) > WATCHED:
        table.popitem(last=False)
