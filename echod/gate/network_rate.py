"""What one network may be answered, and all together, and the watch for repetition.

Each share is a token bucket by the generic cell rate algorithm (ITU-T I.371), as in `echod.gate.buckets`: the time at
which it will be full again. Four of them are asked for every datagram, which is why they are plain numbers here, those
of a network in one table. Times are seconds on one clock that never steps back.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from echod.gate.buckets import TABLE
from echod.gate.limits import Rate
from echod.gate.refusal import Refusal

BYTES: Final = Rate(262_144, 524_288)  #: octets of answers to one network: chrony and NSD bound packets alone
TOTAL: Final = Rate(50_000, 50_000)  #: answers to all networks together
TOTAL_BYTES: Final = Rate(33_554_432, 33_554_432)

SAME: Final = 64  #: the same datagram so often …
SAME_WITHIN: Final = 1.0  #: … in so many seconds is a loop …
MUTE: Final = 60.0  #: … and its source hears nothing for so many
PREFIX: Final = 64  #: octets of a datagram that are compared
WATCHED_ABOVE: Final = 0.5  #: the share of its burst that a network must have used to be watched
WATCHED: Final = 4096  #: sources that are watched for repetition at once

_FULL: Final = (0.0, 0.0)  #: of a network that is not in the table


def network_of(key: bytes) -> bytes:
    """Who shares one rate: an IPv4 /24, or an IPv6 /56 (what one customer is given; RFC 6177)."""
    return key[:3] if len(key) == 4 else key[:7]


def _interval(rate: Rate) -> float:
    """Seconds between two tokens."""
    return 1 / rate.per_second


def _depth(rate: Rate) -> float:
    """Seconds that a bucket may be from full; with a hundredth of a token, for rounding."""
    return (rate.burst + 0.01) / rate.per_second


_OCTET, _OCTETS = _interval(BYTES), _depth(BYTES)
_OF_ALL, _ALL = _interval(TOTAL), _depth(TOTAL)
_OCTET_OF_ALL, _ALL_OCTETS = _interval(TOTAL_BYTES), _depth(TOTAL_BYTES)


class Total:
    """What the whole daemon may answer, one for all services: when its answers, and its octets, are full again."""

    def __init__(self) -> None:
        self.answers = 0.0
        self.octets = 0.0

    def take(self, count: int, octets: int, now: float) -> bool:
        """Take so many answers of so many octets in all, if both are there; False takes nothing."""
        answers_at = (self.answers if self.answers > now else now) + count * _OF_ALL
        octets_at = (self.octets if self.octets > now else now) + octets * _OCTET_OF_ALL
        if answers_at - now > _ALL or octets_at - now > _ALL_OCTETS:
            return False
        self.answers, self.octets = answers_at, octets_at
        return True


class Shares:
    """The shares of every network at one rate."""

    def __init__(self, rate: Rate, total: Total) -> None:
        self.rate = rate
        self._interval = _interval(rate)
        self._depth = _depth(rate)
        self._watched = WATCHED_ABOVE * self._depth
        self._total = total
        self._table: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # when answers and octets are full again
        self._repeats = Repeats()

    def take(self, key: bytes, port: int, datagram: bytes, now: float) -> Refusal | None:
        """Why a datagram is not answered; or None, and it is counted."""
        source = (key, port)
        if self._repeats.muted(source, now):
            return Refusal.REPEAT
        network = network_of(key)
        answers_at, octets_at = self._table.get(network, _FULL)
        answers_at = max(answers_at, now)
        if answers_at + self._interval - now > self._depth:  # before anybody looks at what it says
            self._remember(network, answers_at, octets_at)
            return Refusal.RATE
        if answers_at - now > self._watched and self._repeats.same_again(source, datagram, now):
            return Refusal.REPEAT
        size = len(datagram)
        after = (octets_at if octets_at > now else now) + size * _OCTET
        if after - now > _OCTETS:
            self._remember(network, answers_at + self._interval, octets_at)
            return Refusal.BYTES
        self._remember(network, answers_at + self._interval, after)
        return None if self._total.take(1, size, now) else Refusal.TOTAL

    def take_run(self, key: bytes, port: int, count: int, octets: int, now: float) -> bool | Refusal:
        """As `take` of each, where its answer to all of them is known before they are looked at; otherwise False."""
        if self._repeats.sources and self._repeats.muted((key, port), now):
            return Refusal.REPEAT
        network = network_of(key)
        answers_at, octets_at = self._table.get(network, _FULL)
        answers_at = max(answers_at, now)
        after = answers_at + count * self._interval
        if after - now > self._watched:
            if answers_at + self._interval - now <= self._depth:
                return False
            self._remember(network, answers_at, octets_at)
            return Refusal.RATE
        octets_at = (octets_at if octets_at > now else now) + octets * _OCTET
        if octets_at - now > _OCTETS or not self._total.take(count, octets, now):
            return False
        self._remember(network, after, octets_at)
        return True

    def _remember(self, network: bytes, answers_at: float, octets_at: float) -> None:
        table = self._table
        table[network] = answers_at, octets_at
        table.move_to_end(network)
        if len(table) > TABLE:  # forged sources push the oldest out: that is why there is a total
            table.popitem(last=False)


class Repeats:
    """Finds who sends the same datagram again and again: two echo services that talk to each other.

    Only sources above half their rate are looked at, so that a probe with a constant payload is not one.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[tuple[bytes, int], int], tuple[int, float]] = OrderedDict()  # how often, since
        self.sources: OrderedDict[tuple[bytes, int], float] = OrderedDict()  #: that are muted, and until when

    def muted(self, source: tuple[bytes, int], now: float) -> bool:
        """Whether this source hears nothing now."""
        until = self.sources.get(source)
        if until is None:
            return False
        if now < until:
            return True
        del self.sources[source]
        return False

    def same_again(self, source: tuple[bytes, int], datagram: bytes, now: float) -> bool:
        """Note a datagram; True where it mutes its source."""
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
