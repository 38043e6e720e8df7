"""The delivery of events to sinks, and the counters.

Events are for administrators and programs that watch the daemon. `echod.event_catalogue` lists them. Messages for
developers go to twisted.logger instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from echod.event_catalogue import CATALOGUE
from echod.gate.refusal import Refusal


class Closing(StrEnum):
    """Why a connection was closed, in counters and in the event `connection.closed`."""

    DONE = "done"  #: both sides had finished, or the service had
    LOST = "lost"  #: the peer reset the connection, or disappeared
    IDLE = "idle"  #: no traffic in either direction for `idle`
    STALL = "stall"  #: the peer accepted no pending output for `stall`
    LINGER = "linger"  #: the service had finished, and the peer did not
    ECHO = "echo"  #: a datagram member returned text of echod three times in a row
    MESSAGE = "message"  #: a message was larger than `message` or the send buffer
    HANDSHAKE = "handshake"  #: the handshake of a layer failed, or took longer than `handshake`
    PROTOCOL = "protocol"  #: the peer violated the protocol of a layer, after its handshake
    ANSWERED = "answered"  #: a layer answered the peer by itself, such as a page to a browser
    REFUSED = "refused"  #: the gate refused the client that a proxy named
    FAULT = "fault"  #: a fault of the configuration has refused or reset the connection
    FAILED = "failed"  #: a bug: the service raised an exception
    DRAIN = "drain"  #: the daemon stopped, and `drain` was over
    WORKER = "worker"  #: the worker process that served it has ended


BY_REASON: Final = ("refused", "closed", "faults")  #: the fields of Counters that have several counters each


@dataclass(slots=True)
class Counters:
    """The counters of one address of one service: integers that only grow, except `open`."""

    accepted: int = 0  #: connections that were admitted
    open: int = 0  #: open connections
    datagrams_in: int = 0
    datagrams_out: int = 0
    bytes_in: int = 0  #: payload received
    bytes_out: int = 0  #: payload that the kernel accepted
    held_back: int = 0  #: times a connection was stalled while all had more than `total-buffer` unsent
    refused: dict[Refusal, int] = field(default_factory=dict)
    closed: dict[Closing, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)  #: injected faults, by key

    def refuse(self, reason: Refusal, count: int = 1) -> None:
        """Count `count` refused connections or datagrams."""
        self.refused[reason] = self.refused.get(reason, 0) + count

    def close(self, reason: Closing) -> None:
        """Count the close of an admitted connection."""
        self.open -= 1
        self.closed[reason] = self.closed.get(reason, 0) + 1

    def inject(self, fault: str, count: int = 1) -> None:
        """Count injected faults, by their key."""
        self.faults[fault] = self.faults.get(fault, 0) + count

    def figures(self) -> dict[str, int]:
        """Every counter that is not 0, by name; a reason follows a colon, as in `closed:idle`."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in BY_REASON}
        refused = {f"refused:{reason}": count for reason, count in self.refused.items()}
        closed = {f"closed:{reason}": count for reason, count in self.closed.items()}
        faults = {f"fault:{key}": count for key, count in self.faults.items()}
        return {name: count for name, count in (plain | refused | closed | faults).items() if count}


Sink = Callable[[str, Mapping[str, Any]], None]
"""A function that is called with the name of an event, from CATALOGUE, and its fields."""


class Events:
    """Delivers each event to every sink. If a sink raises, the others still get the event, and it stays subscribed.

    `connections` is whether any sink wants events of single connections. Check it before you create such an event,
    because its fields cost more than the counters do.
    """

    def __init__(self) -> None:
        self.connections = False
        self.failures = 0
        self._sinks: dict[Sink, bool] = {}

    def subscribe(self, sink: Sink, *, connections: bool = False) -> None:
        """Call `sink` for each event; with `connections`, of single connections too. Another call replaces this one."""
        self._sinks[sink] = connections
        self.connections = any(self._sinks.values())

    def tell(self, name: str, **fields: Any) -> None:
        """Deliver an event. Raises KeyError for a name that is not in CATALOGUE, and TypeError for other fields."""
        if mismatch := CATALOGUE[name].mismatch(fields):
            raise TypeError(f"event {name}: {mismatch}")
        for sink in list(self._sinks):
            try:
                sink(name, fields)
            except Exception:
                self.failures += 1
