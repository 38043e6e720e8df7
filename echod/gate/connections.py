"""The gate of streams: who may connect, how many at once, how fast."""

from __future__ import annotations

from collections.abc import Callable

from echod.gate.access import Access, canonical, in_disguise
from echod.gate.buckets import Buckets
from echod.gate.limits import Limits, Rate
from echod.gate.refusal import Refusal


def client_of(key: bytes) -> bytes:
    """Who counts as one client: an IPv4 host, or an IPv6 /64, for a host has 2**64 addresses in its own."""
    return key[:8] if len(key) == 16 else key


class ConnectionGate:
    """The connections of one service, over all its listeners.

    `admit` each connection once and, where it says None, `release` it once. A host is the 4 or 16 octets that
    the kernel told, or b"" for a Unix peer: lists and limits of one client do not concern that.
    """

    def __init__(self, access: Access, limits: Limits, clock: Callable[[], float]) -> None:
        self.open = 0
        self._clock = clock
        self._clients: dict[bytes, int] = {}
        self._new: dict[Rate, Buckets[bytes]] = {}
        self.govern(access, limits)

    def govern(self, access: Access, limits: Limits) -> None:
        """Go by other lists and limits from now on; connections that are open stay."""
        self.access = access
        self.limits = limits

    def admit(self, host: bytes, *, loopback: bool) -> Refusal | None:
        """Why a connection of `host` is refused, or None: it is counted from now on.

        `loopback` says whether only this machine reaches the listener.
        """
        limits = self.limits
        if self.open >= limits.connections:
            return Refusal.CONNECTIONS
        if host and (refusal := self._admit_client(host, limits, loopback)):
            return refusal
        self.open += 1
        return None

    def _admit_client(self, host: bytes, limits: Limits, loopback: bool) -> Refusal | None:
        key = host
        if len(host) == 16:
            if in_disguise(host):
                return Refusal.SOURCE_ADDRESS
            key = canonical(host)
        if not self.access.allows(key):
            return Refusal.DENIED
        client = client_of(key)
        held = self._clients.get(client, 0)
        if held >= limits.per_client:
            return Refusal.PER_CLIENT
        rate = limits.new_connections(loopback)
        if not rate.unlimited:
            buckets = self._new.get(rate) or self._new.setdefault(rate, Buckets(rate))
            if not buckets.take(client, self._clock()):
                return Refusal.NEW_PER_CLIENT
        self._clients[client] = held + 1
        return None

    def name(self, host: bytes, *, loopback: bool) -> Refusal | None:
        """Why the client behind an admitted connection of an unnamed peer (b"") is refused, or None.

        With None the connection is counted for `host` from now on, and released by it; else it is still released
        as one of b"".
        """
        return self._admit_client(host, self.limits, loopback) if host else None

    def release(self, host: bytes) -> None:
        """A connection that was admitted is over."""
        self.open -= 1
        if host:
            client = client_of(canonical(host))
            held = self._clients[client] - 1
            if held:
                self._clients[client] = held
            else:
                del self._clients[client]
