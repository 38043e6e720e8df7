"""The gate of datagrams: why an answer would hurt somebody, or None.

The source of a datagram can be forged, so an answer can be aimed at anybody. The rules (docs/SECURITY.md has
the reasons, peers and measurements): no answer larger than its question, never more than one; none to a port or
an address that would answer by itself; no more than a share to one network, and to all together; none to whoever
sends the same again and again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Container
from typing import Any, Final

from echod.gate.access import Access, canonical, in_disguise
from echod.gate.buckets import Buckets
from echod.gate.floods import PORTS, Floods
from echod.gate.limits import Limits, Rate
from echod.gate.refusal import Refusal

REFLECTORS: Final = frozenset({1900, 2049, 3702, 5353, 11211, 27015})
"""Ports above 1023 whose services answer what they are sent (SSDP, NFS, WS-Discovery, mDNS, memcached, Source)."""
PRIVILEGED: Final = 1024  #: inetd's rule since CERT CA-1996-01: below are services, not clients

BYTES: Final = Rate(262_144, 524_288)  #: octets of answers to one network: chrony and NSD bound packets alone
TOTAL: Final = Rate(50_000, 50_000)  #: answers to all networks together
TOTAL_BYTES: Final = Rate(33_554_432, 33_554_432)

SAME: Final = 64  #: the same datagram so often …
SAME_WITHIN: Final = 1.0  #: … in so many seconds is a loop …
MUTE: Final = 60.0  #: … and its source hears nothing for so many
PREFIX: Final = 64  #: octets of a datagram that are compared
WATCHED_ABOVE: Final = 0.5  #: the share of its burst that a network must have used to be watched
WATCHED: Final = 4096  #: sources that are watched for repetition at once


def network_of(key: bytes) -> bytes:
    """Who shares one rate: an IPv4 /24, or an IPv6 /56 (what one customer is given; RFC 6177)."""
    return key[:3] if len(key) == 4 else key[:7]


def is_many(host: bytes, broadcasts: Container[bytes] = ()) -> bool:
    """Whether the 4 or 16 octets of a destination mean many hosts: multicast, or broadcast (RFC 1122 3.2.1.3).

    A dual-stack socket tells the destinations of IPv4 in mapped form, and nothing else of them.
    """
    key = canonical(host)
    return key[0] == 255 if len(key) == 16 else key[0] >= 224 or key in broadcasts


class Total:
    """What the whole daemon may answer; one for all services."""

    def __init__(self) -> None:
        self.answers: Buckets[None] = Buckets(TOTAL)
        self.bytes: Buckets[None] = Buckets(TOTAL_BYTES)


class DatagramGate:
    """The datagrams of one service, over all its listeners.

    `own_ports` are the ports that the daemon itself answers on; `broadcasts` the broadcast addresses of its
    interfaces, as 4 octets. Both may change while the gate lives. `floods` are for whoever can stop them earlier.
    """

    def __init__(
        self,
        access: Access,
        limits: Limits,
        clock: Callable[[], float],
        *,
        own_ports: Collection[int] = (),
        broadcasts: Container[bytes] = (),
        larger_answers_to: Access | None = None,
        allow_source_ports: Collection[int] = (),
        total: Total | None = None,
    ) -> None:
        self.own_ports = own_ports
        self.broadcasts = broadcasts
        self.floods = Floods()
        self._clock = clock
        self._total = total or Total()
        self._shares: dict[Rate, _Shares] = {}
        self.govern(access, limits, larger_answers_to or Access(()), allow_source_ports)

    def govern(
        self, access: Access, limits: Limits, larger_answers_to: Access, allow_source_ports: Collection[int]
    ) -> None:
        """Go by other lists and limits from now on."""
        self.access = access
        self.limits = limits
        self.larger_answers_to = larger_answers_to
        self.allow_source_ports = allow_source_ports

    def admit(self, host: bytes, port: int, datagram: bytes, *, loopback: bool) -> Refusal | None:
        """Why a datagram is not answered, or None.

        `host` is the 4 or 16 octets that the kernel told, or b"" for a Unix peer, whom no rule concerns;
        `loopback` says whether only this machine reaches the listener.
        """
        if not host:
            return None
        key = canonical(host)
        if refusal := self.forbidden(host, key, port):
            self.forbade(refusal, 1)
            return refusal
        rate = self.limits.datagrams(loopback)
        if rate.unlimited:
            return None
        shares = self._shares.get(rate)
        if shares is None:
            shares = self._shares[rate] = _Shares(rate, self._total)
        now = self._clock()
        refusal = shares.take(key, port, datagram, now)
        if refusal and refusal is not Refusal.TOTAL:
            self.floods.note(network_of(key), now, rate.per_second)
        return refusal

    def admit_run(self, key: bytes, port: int, count: int, octets: int, *, loopback: bool) -> bool | Refusal:
        """What becomes of `count` datagrams of one source, `octets` in all: True, and all are answered and counted; or
        why none is, whatever they say. False counts nothing, and says nothing: ask `admit` for each.

        `forbidden` has been asked already, with this `key`.
        """
        rate = self.limits.datagrams(loopback)
        if rate.unlimited:
            return True
        shares = self._shares.get(rate)
        if shares is None:
            shares = self._shares[rate] = _Shares(rate, self._total)
        now = self._clock()
        verdict = shares.take_run(key, port, count, octets, now)
        if isinstance(verdict, Refusal):
            self.floods.note(network_of(key), now, rate.per_second, count)
        return verdict

    def forbade(self, refusal: Refusal, count: int) -> None:
        """Note that so many were refused for what `forbidden` said."""
        if refusal is Refusal.SOURCE_PORT:
            self.floods.note(PORTS, self._clock(), count=count)

    def forbidden(self, host: bytes, key: bytes, port: int) -> Refusal | None:
        """The rules that need no memory: ports, addresses, access lists. `key` is the canonical `host`."""
        if (port < PRIVILEGED or port in REFLECTORS or port in self.own_ports) and port not in self.allow_source_ports:
            return Refusal.SOURCE_PORT
        if len(key) == 4:
            if key[0] == 0 or key[0] >= 224 or key in self.broadcasts or in_disguise(host):
                return Refusal.SOURCE_ADDRESS
        elif key[0] == 255 or not any(key):
            return Refusal.SOURCE_ADDRESS
        return None if self.access.allows(key) else Refusal.DENIED

    def may_be_larger(self, host: bytes) -> bool:
        """Whether this source may get an answer larger than its question."""
        return not host or (not in_disguise(host) and self.larger_answers_to.allows(canonical(host)))


class _Shares:
    """The buckets of one rate, and the watch for repetition."""

    def __init__(self, rate: Rate, total: Total) -> None:
        self._burst = rate.burst
        self._datagrams: Buckets[bytes] = Buckets(rate)
        self._bytes: Buckets[bytes] = Buckets(BYTES)
        self._total = total
        self._repeats = Repeats()

    def take(self, key: bytes, port: int, datagram: bytes, now: float) -> Refusal | None:
        source = (key, port)
        if self._repeats.muted(source, now):
            return Refusal.REPEAT
        network = network_of(key)
        if self._datagrams.empty(network, now):  # before anybody looks at what it says
            return Refusal.RATE
        if self._datagrams.used(network, now) > WATCHED_ABOVE and self._repeats.same_again(source, datagram, now):
            return Refusal.REPEAT
        if not self._datagrams.take(network, now):
            return Refusal.RATE
        if not self._bytes.take(network, now, len(datagram)):
            return Refusal.BYTES
        if not (self._total.answers.take(None, now) and self._total.bytes.take(None, now, len(datagram))):
            return Refusal.TOTAL
        return None

    def take_run(self, key: bytes, port: int, count: int, octets: int, now: float) -> bool | Refusal:
        """As `take` of each, where its answer to all of them is known before they are looked at; otherwise False."""
        if self._repeats.muted((key, port), now):
            return Refusal.REPEAT
        network = network_of(key)
        datagrams = self._datagrams
        if datagrams.used(network, now) + count / self._burst > WATCHED_ABOVE:
            return Refusal.RATE if datagrams.empty(network, now) else False
        answers, total_bytes = self._total.answers, self._total.bytes
        if (
            (octets_at := self._bytes.after(network, now, octets)) is None
            or (answers_at := answers.after(None, now, count)) is None
            or (total_at := total_bytes.after(None, now, octets)) is None
        ):
            return False
        datagrams.take(network, now, count)
        self._bytes.put(network, octets_at)
        answers.put(None, answers_at)
        total_bytes.put(None, total_at)
        return True


class Repeats:
    """Finds who sends the same datagram again and again: two echo services that talk to each other.

    Only sources above half their rate are looked at, so that a probe with a constant payload is not one.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[tuple[bytes, int], int], tuple[int, float]] = OrderedDict()  # how often, since
        self._muted: OrderedDict[tuple[bytes, int], float] = OrderedDict()  # until when

    def muted(self, source: tuple[bytes, int], now: float) -> bool:
        """Whether this source hears nothing now."""
        until = self._muted.get(source)
        if until is None:
            return False
        if now < until:
            return True
        del self._muted[source]
        return False

    def same_again(self, source: tuple[bytes, int], datagram: bytes, now: float) -> bool:
        """Note a datagram; True where it mutes its source."""
        again = (source, hash((datagram[:PREFIX], len(datagram))))
        often, since = self._seen.pop(again, (0, now))
        if now - since > SAME_WITHIN:
            often, since = 0, now
        if often + 1 >= SAME:
            self._muted[source] = now + MUTE
            _forget_oldest(self._muted)
            return True
        self._seen[again] = (often + 1, since)
        _forget_oldest(self._seen)
        return False


def _forget_oldest(table: OrderedDict[Any, Any]) -> None:
    if len(table) > WATCHED:
        table.popitem(last=False)
