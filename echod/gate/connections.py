"""The gate of connections: which clients may connect, how many at once, and how fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from echod.gate.access import Access, canonical, in_disguise
from echod.gate.buckets import Buckets
from echod.gate.limits import Limits, Rate
from echod.gate.refusal import Refusal

AHEAD: Final = 1.1  #: times the average of the other processes, and …
SOME_MORE: Final = 4  #: … this many more connections: then another process should accept the next one


def client_of(key: bytes) -> bytes:
    """The key of a client: an IPv4 host, or an IPv6 /64, because one host can use all 2**64 addresses of it."""
    return key[:8] if len(key) == 16 else key


class SlotsElsewhere(Protocol):
    """The connections of a service in other processes of the daemon, which learn the number of those in this one."""

    def processes(self) -> int:
        """The number of other processes that serve."""

    def open(self) -> int:
        """The open connections in other processes."""

    def of_client(self, client: bytes) -> int:
        """The open connections of one client in other processes."""

    def set_open(self, count: int) -> None:
        """Show other processes the number of open connections in this one."""

    def set_of_client(self, client: bytes, count: int) -> None:
        """Show other processes the number of open connections of one client in this one."""


class NoOtherProcess:
    """The only process of a daemon: as `SlotsElsewhere`, without connections elsewhere."""

    def processes(self) -> int:
        """As SlotsElsewhere."""
        return 0

    def open(self) -> int:
        """As SlotsElsewhere."""
        return 0

    def of_client(self, _client: bytes) -> int:
        """As SlotsElsewhere."""
        return 0

    def set_open(self, _count: int) -> None:
        """As SlotsElsewhere."""

    def set_of_client(self, _client: bytes, _count: int) -> None:
        """As SlotsElsewhere."""


class ConnectionGate:
    """The connections of one service, over all its listeners.

    Call `admit` once for each connection. If it returns None, call `release` once when the connection is closed. A host
    is the 4 or 16 bytes that the kernel reported, or b"" for a Unix peer. The access lists and the limits for one
    client do not apply to Unix peers.

    Both limits count `elsewhere` too. Several processes may admit a connection at the same moment, so a limit may be
    exceeded by as many connections as there are other processes. `buckets` makes the table of a rate.
    """

    def __init__(
        self,
        access: Access,
        limits: Limits,
        clock: Callable[[], float],
        elsewhere: SlotsElsewhere | None = None,
        buckets: Callable[[Rate], Buckets[bytes]] = Buckets,
    ) -> None:
        self.open = 0  #: in this process
        self._clock = clock
        self._elsewhere = elsewhere or NoOtherProcess()
        self._buckets = buckets
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
        limits, elsewhere = self.limits, self._elsewhere.open()
        if self.open + elsewhere >= limits.connections:
            return Refusal.CONNECTIONS
        if host and (refusal := self._admit_client(host, limits, loopback, elsewhere)):
            return refusal
        self._set_open(self.open + 1)
        return None

    @property
    def is_ahead(self) -> bool:
        """Whether this process has clearly more connections than the others on average."""
        others = self._elsewhere.processes()
        return others > 0 and self.open > AHEAD * self._elsewhere.open() / others + SOME_MORE

    @property
    def open_elsewhere(self) -> int:
        """The open connections in other processes."""
        return self._elsewhere.open()

    def _set_open(self, count: int) -> None:
        self.open = count
        self._elsewhere.set_open(count)

    def _admit_client(self, host: bytes, limits: Limits, loopback: bool, elsewhere: int) -> Refusal | None:
        key = host
        if len(host) == 16:
            if in_disguise(host):
                return Refusal.SOURCE_ADDRESS
            key = canonical(host)
        if not self.access.allows(key):
            return Refusal.DENIED
        client = client_of(key)
        held = self._clients.get(client, 0)
        most = held + elsewhere  # if the client had all connections elsewhere
        if most >= limits.per_client and held + self._elsewhere.of_client(client) >= limits.per_client:
            return Refusal.PER_CLIENT
        rate = limits.new_connections(loopback)
        if not rate.unlimited:
            buckets = self._new.get(rate) or self._new.setdefault(rate, self._buckets(rate))
            if not buckets.take(client, self._clock()):
                return Refusal.NEW_PER_CLIENT
        self._clients[client] = held + 1
        self._elsewhere.set_of_client(client, held + 1)
        return None

    def name(self, host: bytes, *, loopback: bool) -> Refusal | None:
        """Why the client behind an admitted connection of an unnamed peer (b"") is refused, or None.

        With None the connection is counted for `host` from now on, and released by it; else it is still released
        as one of b"".
        """
        return self._admit_client(host, self.limits, loopback, self._elsewhere.open()) if host else None

    def release(self, host: bytes) -> None:
        """Stop counting an admitted connection."""
        self._set_open(self.open - 1)
        if host:
            client = client_of(canonical(host))
            held = self._clients[client] - 1
            if held:
                self._clients[client] = held
            else:
                del self._clients[client]
            self._elsewhere.set_of_client(client, held)
