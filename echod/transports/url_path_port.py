"""One listening socket for several services, which clients select by a path (`ws://127.0.0.1:8007/echo`).

A `SharedSocket` is bound once, and closed by its last user. Each service has a `PathPort` on it. The socket has one
`Door`, which accepts connections and runs their handshakes. The path is known only after that. Then the connection is
handed to the factory of the path, whose gate decides on it. Until then a gate of the door bounds the handshakes.

A path that is removed is served until the handshakes that have begun are over: these clients may want it. Each factory
waits for them when it drains, as for its own connections.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from echod.events import Closing
from echod.gate.access import Access
from echod.gate.connections import ConnectionGate
from echod.gate.limits import UNLIMITED, Limits, Rate
from echod.gate.refusal import Refusal
from echod.socket_names import SocketAddress, is_loopback
from echod.transports.handshake_slot import Entrance, Rejection
from echod.transports.layers.http_answer import Resource
from echod.transports.layers.layer_interface import Receiver
from echod.transports.service_factory import ServiceFactory


class SharedSocket:
    """A listening socket with its users. `closing` is called before the socket is closed."""

    def __init__(self, opened: socket.socket, closing: Callable[[], object] = lambda: None) -> None:
        self.socket = opened
        self.factories: dict[str, ServiceFactory] = {}  # by path
        self.resources: dict[str, Resource] = {}  # the same paths, for the layer that reads them
        self.door: Door | None = None
        self.port: Any = None  # while it listens
        self.listening: set[PathPort] = set()
        self._leaving: list[tuple[str, ServiceFactory]] = []  # to be removed after the last handshake
        self._closing = closing
        self._users = 1

    def share(self) -> SharedSocket:
        """The same socket for one more user."""
        self._users += 1
        return self

    def close(self) -> None:
        """Close the socket if this was its last user."""
        self._users -= 1
        if not self._users:
            self._closing()
            self.socket.close()

    def getsockname(self) -> Any:
        """As socket.getsockname."""
        return self.socket.getsockname()

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """As socket.setsockopt."""
        self.socket.setsockopt(level, option, value)

    def put(self, factory: ServiceFactory, resource: Resource, gate: ConnectionGate) -> Door:
        """Serve a path. Returns the door, which is made with this gate if there is none."""
        self.factories[resource.path], self.resources[resource.path] = factory, resource
        if self.door is None:
            self.door = Door(self, gate, factory.clock)
        factory.entrances = self.door.entrances
        self.door.follow()
        return self.door

    def remove(self, path: str, factory: ServiceFactory) -> None:
        """Stop serving a path after the handshakes that have begun, unless another factory has taken it over."""
        self._leaving.append((path, factory))
        self.remove_leaving()

    def remove_leaving(self) -> None:
        """Remove the paths that wait for the last handshake, if it is over; then drained factories can end."""
        if self.door is None or self.door.entrances:
            return
        known = [*self.factories.values(), *(factory for _, factory in self._leaving)]
        for path, factory in self._leaving:
            if self.factories.get(path) is factory:
                del self.factories[path], self.resources[path]
        self._leaving.clear()
        self.door.follow()
        for factory in known:
            factory._maybe_drained()


class Door(ServiceFactory):
    """Runs the handshakes of a shared socket. It counts and logs connections as those of the first of the services."""

    def __init__(self, shared: SharedSocket, gate: ConnectionGate, clock: Any) -> None:
        first = next(iter(shared.factories.values()))
        super().__init__(first.service, gate=gate, events=first.events, clock=clock, unsent=first.mark.budget)
        self._shared = shared
        self.gate: ConnectionGate = gate
        self.follow()

    def follow(self) -> None:
        """Follow a change of the services: layers and limits before the path is known are those of the first."""
        factories = list(self._shared.factories.values())
        if not factories:
            return
        first = factories[0]
        self.service, self.limits, self.counters = first.service, first.limits, first.counters
        self.name, self.label, self.scheme, self.loopback = first.name, first.label, first.scheme, first.loopback
        self.layers, self.proxies = first.layers, first.proxies
        self.injects = any(one.injects for one in factories)
        limits = Limits(
            connections=max(one.limits.connections for one in factories),
            per_client=max(one.limits.per_client for one in factories),
            new_per_client=_highest(one.limits.new_connections(one.loopback) for one in factories),
        )
        self.gate.reconfigure(_AnyAccess(self._shared.factories), limits)

    def admit(self, host: bytes, peer: Callable[[], SocketAddress]) -> Refusal | None:
        """As ServiceFactory.admit, but an admitted connection is counted by the service of its path."""
        refusal = self.gate.admit(host, loopback=self.loopback)
        return None if refusal is None else self._refused(refusal, peer)

    def _accepted(self) -> None:
        """Count nothing: the factory of the path counts the connection."""

    def _begin(self, entrance: Entrance) -> Receiver:
        """Hand the connection to the factory of its path, whose gate decides on the client."""
        factory, facts, host = self._shared.factories[entrance.facts.path], entrance.facts, entrance.host
        loopback = factory.loopback and (not entrance.through_proxy or is_loopback(getattr(facts.remote, "host", "")))
        if factory.gate and (refusal := factory.gate.admit(host, loopback=loopback)):
            factory._refused(refusal, lambda: facts.remote, facts.proxy)
            entrance.closing = Closing.REFUSED
            return Rejection()
        factory._accepted()
        if factory.events.connections:
            factory._tell("connection.opened", facts.remote, facts.proxy)
        entrance.entered = True
        del self.entrances[entrance]
        self.gate.release(host)
        receiver = factory.above_layers(factory.converse(host), host, facts.injection)
        self._shared.remove_leaving()
        return receiver

    def _turned_away(self, entrance: Entrance) -> None:
        """Count a connection whose handshakes failed: for the service of its path, if that is known."""
        del self.entrances[entrance]
        self.gate.release(entrance.host)
        path = "" if entrance.below is None else entrance.facts.path
        factory = self._shared.factories.get(path) or next(iter(self._shared.factories.values()))
        factory._accepted()
        if entrance.closing is Closing.HANDSHAKE:
            factory._tell("handshake.failed", entrance.remote, error=entrance.error)
        factory.counters.close(entrance.closing)
        self._maybe_drained()
        self._shared.remove_leaving()


def _highest(rates: Iterable[Rate]) -> Rate:
    """The rate that permits the most."""
    known = list(rates)
    return UNLIMITED if any(rate.unlimited for rate in known) else max(known)


class _AnyAccess(Access):
    """Admits a client if the list of any service admits it."""

    def __init__(self, factories: Mapping[str, ServiceFactory]) -> None:
        super().__init__(())
        self._factories = factories

    def allows(self, key: bytes) -> bool:
        """As Access.allows."""
        gates = (one.gate for one in self._factories.values())
        return any(gate is None or gate.access.allows(key) for gate in gates)


class PathPort:
    """One service at one path of a shared socket. It has the interface of a listening port.

    `listen` makes the port of the socket from the door, and `gate` the gate of the door. `close` gives the socket back.
    """

    def __init__(
        self,
        shared: SharedSocket,
        factory: ServiceFactory,
        resource: Resource,
        *,
        listen: Callable[[Door], Any],
        gate: ConnectionGate,
        close: Callable[[], None],
    ) -> None:
        self._shared, self._factory, self._resource = shared, factory, resource
        self._listen, self._gate, self._close = listen, gate, close

    def startListening(self) -> None:
        """Serve the path from now on."""
        shared = self._shared
        door = shared.put(self._factory, self._resource, self._gate)
        self._factory.doStart()
        shared.listening.add(self)
        if shared.port is None:
            shared.port = self._listen(door)
            shared.port.startListening()

    def reconfigure(self, resource: Resource) -> None:
        """Serve the path with other settings."""
        self._resource = resource
        self._shared.put(self._factory, resource, self._gate)

    def stopListening(self) -> None:
        """Stop serving the path. The last service of the socket accepts the clients in its listen queue first."""
        shared = self._shared
        if self in shared.listening:
            if len(shared.listening) == 1 and shared.port is not None:
                port, shared.port = shared.port, None
                port.stopListening()
            self.release()
            self._close()

    def release(self) -> None:
        """Stop serving the path, and leave the socket to another port."""
        shared = self._shared
        shared.listening.discard(self)
        if not shared.listening and shared.port is not None:
            shared.port.release()
            shared.port = None
        shared.remove(self._resource.path, self._factory)
        self._factory.doStop()
