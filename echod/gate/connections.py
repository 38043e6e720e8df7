"""The gate of connections: which clients may connect, how many at once, and how fast."""

from __future__ import annotations

from collections.abc import Callable

from echod.gate.access import Access, canonical, in_disguise
from echod.gate.buckets import Buckets
from echod.gate.limits import Limits, Rate
from echod.gate.refusal import Refusal


def client_of(key: bytes) -> bytes:
    """The key of a client: an IPv4 host, or an IPv6 /64, because one host can use all 2**64 addresses of it."""
    return key[:8] if len(key) == 16 else key


class ConnectionGate:
    """The connections of one service, over all its listeners.

    Call `admit` once for each connection. If it returns None, call `release` once when the connection is closed. A host
    is the 4 or 16 bytes that the kernel reported, or b"" for a Unix peer. The access lists and the limits for one
    client do not apply to Unix peers.
    """

    def __init__(self, access: Access, limits: Limits, clock: Callable[[], float]) -> None:
        self.open = 0
        self._clock = clock
        self._clients: dict[bytes, int] = {}
        self._new: dict[Rate, Buckets[bytes]] = {}
        self.reconfigure(access, limits)

    def reconfigure(self, access: Access, limits: Limits) -> None:
        """Use other lists and limits from now on; open connections stay."""
        self.access = access
        self.limits = limits

    def admit(self, host: bytes, *, loopback: bool) -> Refusal | None:
        """Why a connection of `host` is refused, or None: then it is counted until `release`.

        `loopback` is whether the listener is reachable from this machine only.
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
        """Stop counting an admitted connection."""
        self.open -= 1
        if host:
            client = client_of(canonical(host))
            held = self._clients[client] - 1
            if held:
                self._clients[client] = held
            else:
                del self._clients[client]
