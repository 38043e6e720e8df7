"""The gate of datagrams: why a datagram gets no reply, or None.

The source of a datagram can be forged, so a reply can be directed at any host. The rules (docs/SECURITY.md has the
reasons, peers and measurements):

* one reply to a request, and not larger than it (`echod.gate.reply_allowance`);
* no reply to a port or an address that would reply by itself;
* a rate limit for each network, and for all together;
* no reply to a source that repeats a datagram.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container
from typing import Final

from echod.gate.access import Access, canonical, in_disguise
from echod.gate.flood_detector import PORTS, Floods
from echod.gate.limits import Limits, Rate
from echod.gate.network_rate import Elsewhere, Shares, Total, network_of
from echod.gate.refusal import Refusal

REFLECTORS: Final = frozenset({1900, 2049, 3702, 5353, 11211, 27015})
"""Ports above 1023 whose services reply to any datagram (SSDP, NFS, WS-Discovery, mDNS, memcached, Source)."""
PRIVILEGED: Final = 1024  #: inetd's rule since CERT CA-1996-01: ports below are of services, not clients


def is_many(host: bytes, broadcasts: Container[bytes] = ()) -> bool:
    """Whether a destination of 4 or 16 bytes is multicast or broadcast (RFC 1122 3.2.1.3).

    A dual-stack socket reports IPv4 destinations only in mapped form.
    """
    key = canonical(host)
    return key[0] == 255 if len(key) == 16 else key[0] >= 224 or key in broadcasts


class DatagramGate:
    """The datagrams of one service, over all its listeners.

    `own_ports` are the ports that the daemon itself serves; `broadcasts` the broadcast addresses of its interfaces, as
    4 bytes. Both may change later. `floods` collects floods for a filter in the kernel. `elsewhere` returns what other
    processes take at a rate.
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
        elsewhere: Callable[[Rate], Elsewhere | None] = lambda _rate: None,
    ) -> None:
        self.own_ports = own_ports
        self.broadcasts = broadcasts
        self.floods = Floods()
        self._clock = clock
        self._total = total or Total()
        self._elsewhere = elsewhere
        self._rates: dict[Rate, Shares] = {}
        self.reconfigure(access, limits, larger_answers_to or Access(()), allow_source_ports)

    def reconfigure(
        self, access: Access, limits: Limits, larger_answers_to: Access, allow_source_ports: Collection[int]
    ) -> None:
        """Use other lists and limits from now on."""
        self.access = access
        self.limits = limits
        self.larger_answers_to = larger_answers_to
        self.allow_source_ports = allow_source_ports
        self._shares = {loopback: self._shares_at(limits.datagrams(loopback)) for loopback in (False, True)}

    def _shares_at(self, rate: Rate) -> Shares | None:
        if rate.unlimited:
            return None
        if rate not in self._rates:
            self._rates[rate] = Shares(rate, self._total, self._elsewhere(rate))
        return self._rates[rate]

    def admit(self, host: bytes, port: int, datagram: bytes, *, loopback: bool) -> Refusal | None:
        """Why a datagram gets no reply, or None.

        `host` is the 4 or 16 bytes that the kernel reported, or b"" for a Unix peer, to which no rule applies.
        `loopback` is whether the listener is reachable from this machine only.
        """
        if not host:
            return None
        key = canonical(host)
        if refusal := self.forbidden(host, key, port):
            self.forbade(refusal, 1)
            return refusal
        return self.admit_permitted(key, port, datagram, loopback=loopback)

    def admit_permitted(self, key: bytes, port: int, datagram: bytes, *, loopback: bool) -> Refusal | None:
        """As `admit`, if `forbidden` with this `key` has returned None before."""
        shares = self._shares[loopback]
        if shares is None:
            return None
        now = self._clock()
        refusal = shares.take(key, port, datagram, now)
        if refusal and refusal is not Refusal.TOTAL:
            self.floods.note(network_of(key), now, shares.rate.per_second)
        return refusal

    def admit_run(self, key: bytes, port: int, count: int, size: int, *, loopback: bool) -> bool | Refusal:
        """Decide about `count` datagrams of one source, of `size` bytes together.

        True admits and counts all of them. A Refusal applies to all of them, independent of their content. False
        decides and counts nothing: call `admit` for each. The caller has called `forbidden` with this `key` before.
        """
        shares = self._shares[loopback]
        if shares is None:
            return True
        now = self._clock()
        result = shares.take_run(key, port, count, size, now)
        if isinstance(result, Refusal):
            self.floods.note(network_of(key), now, shares.rate.per_second, count)
        return result

    def forbade(self, refusal: Refusal, count: int) -> None:
        """Note `count` datagrams that `forbidden` refused with this reason."""
        if refusal is Refusal.SOURCE_PORT:
            self.floods.note(PORTS, self._clock(), count=count)

    def forbidden(self, host: bytes, key: bytes, port: int) -> Refusal | None:
        """Apply the rules that need no state: ports, addresses, access lists. `key` is the canonical `host`."""
        if self.replies_by_itself(port):
            return Refusal.SOURCE_PORT
        if len(key) == 4:
            if key[0] == 0 or key[0] >= 224 or key in self.broadcasts or in_disguise(host):
                return Refusal.SOURCE_ADDRESS
        elif key[0] == 255 or not any(key):
            return Refusal.SOURCE_ADDRESS
        return None if self.access.allows(key) else Refusal.DENIED

    def replies_by_itself(self, port: int) -> bool:
        """Whether the service of a port would reply to a reply, so that a loop could begin."""
        if port in self.allow_source_ports:
            return False
        return port < PRIVILEGED or port in REFLECTORS or port in self.own_ports

    def may_be_larger(self, host: bytes) -> bool:
        """Whether this source may get a reply larger than its request."""
        return not host or (not in_disguise(host) and self.larger_answers_to.allows(canonical(host)))
