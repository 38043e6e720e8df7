"""What happens, as a contract: the catalogue of events, who hears of them, and what is counted.

Events are for people and programs that watch the daemon; docs/ARCHITECTURE.md lists them, and a test holds the
list to this file. What concerns only a developer goes to twisted.logger instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from echod.gate.refusal import Refusal


class Closing(StrEnum):
    """Why a connection ended: the closed vocabulary of counters and of `connection.closed`."""

    DONE = "done"  #: both sides had finished, or the service had
    LOST = "lost"  #: the peer reset it, or vanished
    IDLE = "idle"  #: nothing came and nothing went for `idle`
    STALL = "stall"  #: the peer took nothing of what was waiting for it for `stall`
    LINGER = "linger"  #: we had finished, and the peer never did
    ECHO = "echo"  #: a datagram member returned our own text three times in a row
    MESSAGE = "message"  #: a message was larger than `message` or the send buffer
    HANDSHAKE = "handshake"  #: the handshake of a layer took longer than `handshake`
    REFUSED = "refused"  #: the gate refused the client that a proxy named
    FAILED = "failed"  #: a bug: the service raised
    DRAIN = "drain"  #: the daemon stopped and could wait no longer


CATALOGUE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "listener.opened": "an address is served: service, address",
        "listener.awaited": "an address with `retry` is not there yet: service, address, error",
        "listener.closed": "an address is served no more: service, address",
        "connection.opened": "a connection was admitted: service, address, peer",
        "connection.refused": "a connection was not: service, address, peer, reason",
        "client.denied": "a client's network is not let in, said once a minute: service, address, peer, host",
        "connection.closed": "a connection ended: service, address, peer, reason, bytes_in, bytes_out",
        "accept.paused": "the kernel hands out no connections: service, address, error",
        "accept.resumed": "it does again: service, address, refused",
        "reading.paused": "more than total-buffer waits to be sent; who is stuck is not read from: limit",
        "reading.resumed": "it does not any more: limit",
        "daemon.ready": "everything is bound and served: listeners",
        "daemon.reloading": "the configuration is read anew: by",
        "daemon.reloaded": "it is in force: opened, closed, changed, changes",
        "daemon.refused": "it is wrong, and nothing has changed: errors",
        "daemon.draining": "no new connections; the open ones have time to end: connections, seconds",
        "log.incomplete": "what could not be written or told, said at the end: lines, events",
        "daemon.stopped": "the end, with every counter: counters",
    }
)


@dataclass(slots=True)
class Tally:
    """The counters of one address of one service: plain integers that only grow, but for `open`."""

    accepted: int = 0  #: connections that were admitted
    open: int = 0  #: connections now
    datagrams_in: int = 0
    datagrams_out: int = 0
    bytes_in: int = 0  #: payload, as it came
    bytes_out: int = 0  #: payload, as the kernel took it
    held_back: int = 0  #: connections that were stuck while all together had more than `total-buffer` unsent
    refused: dict[Refusal, int] = field(default_factory=dict)
    closed: dict[Closing, int] = field(default_factory=dict)

    def refuse(self, reason: Refusal, count: int = 1) -> None:
        """Count what got no service."""
        self.refused[reason] = self.refused.get(reason, 0) + count

    def close(self, reason: Closing) -> None:
        """Count the end of a connection that was admitted."""
        self.open -= 1
        self.closed[reason] = self.closed.get(reason, 0) + 1

    def figures(self) -> dict[str, int]:
        """Every counter that is not 0, by its name; reasons stand behind a colon."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("refused", "closed")}
        refused = {f"refused:{reason}": count for reason, count in self.refused.items()}
        closed = {f"closed:{reason}": count for reason, count in self.closed.items()}
        return {name: count for name, count in (plain | refused | closed).items() if count}


Sink = Callable[[str, Mapping[str, Any]], None]
"""Hears of an event: its name of the CATALOGUE, and its fields."""


class Events:
    """Tells every sink what happens. A sink that raises is not heard by the others, and keeps its place.

    `connections` says whether anybody wants the events of single connections: who tells them asks first, for
    their fields cost more than the counters do.
    """

    def __init__(self) -> None:
        self.connections = False
        self.failures = 0
        self._sinks: dict[Sink, bool] = {}

    def subscribe(self, sink: Sink, *, connections: bool = False) -> None:
        """Tell `sink` from now on; with `connections`, of single connections too. May be said again, otherwise."""
        self._sinks[sink] = connections
        self.connections = any(self._sinks.values())

    def tell(self, name: str, **fields: Any) -> None:
        """Something happened. Raises KeyError for a name that the CATALOGUE does not have."""
        CATALOGUE[name]
        for sink in list(self._sinks):
            try:
                sink(name, fields)
            except Exception:
                self.failures += 1
