"""One bound socket of a service, and the port that serves it, on the plain path or on the fast path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from echod.admin.access_control import AdminService
from echod.config.settings import ServiceConfig
from echod.daemon.bind import BoundSocket
from echod.daemon.fast_path import lane_class, udp_port
from echod.daemon.layers import layers_of, proxies_of, resource_of
from echod.daemon.running_service import DaemonContext, ResourceRefused, RunningService, injects
from echod.escaping import system_error
from echod.events import Counters
from echod.fastpath.loop import Loop
from echod.fastpath.stream_lane import StreamLane
from echod.fastpath.udp_lane import UDPLane
from echod.gate.access import Access
from echod.gate.connections import ConnectionGate
from echod.model import Service
from echod.transports.datagram import DatagramPort, ServiceDatagrams
from echod.transports.datagram_faults import DatagramFaults
from echod.transports.datagram_sessions import SessionDatagrams
from echod.transports.fast_path_interface import Worth
from echod.transports.fault_factory import FaultFactory
from echod.transports.layers.http_answer import Resource
from echod.transports.proxied_datagrams import ProxiedDatagrams
from echod.transports.service_factory import ServiceFactory
from echod.transports.stream_port import StreamPort
from echod.transports.transport import ListeningPort
from echod.transports.udp import UDPPort
from echod.transports.url_path_port import Door, PathPort, SharedSocket


class HeldPort:
    """The port of a socket that workers serve: it only keeps the socket open."""

    def __init__(self, close: Callable[[], None]) -> None:
        self.stopListening = close

    def startListening(self) -> None:
        """As ListeningPort; the workers listen."""

    def release(self) -> None:
        """As ListeningPort; the socket stays open."""


class Listener:
    """Serves one bound socket, from `begin` on; or holds it, if workers serve it. Raises OSError."""

    def __init__(self, bound: BoundSocket, running: RunningService, shared: DaemonContext) -> None:
        self.bound = bound
        self.running = running
        self.label = bound.label
        self._plane = shared.plane
        self._shared = shared
        self.counters = _counters(shared, running.config.name, self.label)
        transport, shape = bound.transport, bound.address.shape
        scheme = bound.address.form.shown_as or bound.address.scheme
        self.factory: ServiceFactory | None = None
        self._protocol: ServiceDatagrams | None = None
        self.port: ListeningPort = HeldPort(bound.close)
        # Each listener of the admin interface has its own connection slots: TCP clients cannot use up those of Unix.
        self._own_gate: ConnectionGate | None = None
        if self.is_admin:
            access, limits = running.connections.access, running.config.limits
            self._own_gate = shared.state.connection_gate(f"{running.config.name} {self.label}", access, limits)
        if shared.held and not self.is_admin:
            return
        if shape.has_connections:
            make = ServiceFactory if running.injector is None else partial(FaultFactory, injector=running.injector)
            self.factory = make(
                running.frontend,
                gate=self._own_gate or running.connections,
                limits=running.config.limits,  # the gate applies them when the service has begun
                counters=self.counters,
                events=shared.events,
                name=running.config.name,
                label=self.label,
                scheme=scheme,
                loopback=bound.loopback,
                clock=shared.reactor,
                unsent=shared.state.send_budget,
                layers=layers_of(bound.address, running, shared, self._resources),
                proxies=proxies_of(bound.address, running),
            )
            self.port = self._port(self.factory, running)
            if shared.plane is not None and isinstance(self.port, StreamPort) and StreamLane.can_serve(self.port):
                lane = lane_class(self.port)
                self.port = lane(shared.plane, self.port, shared.reserve, shared.pipes_below)
        else:
            self._protocol = self._datagrams(scheme, shared)
            self._set_datagram_faults(self._protocol)
            self._protocol.filter_refused = self._report_refused_filter
            self.port = transport.listen(shared.reactor, bound.socket, bound.address, self._protocol, bound.close)
            if shared.plane is not None and isinstance(self.port, UDPPort):
                self.port = udp_port(shared.plane, self.port)

    def _port(self, factory: ServiceFactory, running: RunningService) -> ListeningPort:
        """The port of a socket with connections. A shared socket has one port for each path."""
        bound, shared, config = self.bound, self._shared, running.config
        listen: Callable[..., ListeningPort] = bound.transport.listen
        opened = bound.socket
        if not isinstance(opened, SharedSocket):
            return listen(shared.reactor, opened, bound.address, factory, shared.reserve, bound.close)

        def open_door(door: Door) -> ListeningPort:
            return listen(shared.reactor, opened.socket, bound.address, door, shared.reserve, lambda: None)

        gate = shared.state.connection_gate(
            f"{config.name} {self.label} door", running.connections.access, config.limits
        )
        resource = resource_of(bound.address, running, self._shared)
        return PathPort(opened, factory, resource, listen=open_door, gate=gate, close=bound.close)

    def _datagrams(self, scheme: str, shared: DaemonContext) -> ServiceDatagrams:
        running, loopback = self.running, self.bound.loopback
        service, gate = running.frontend, running.datagrams
        if not running.service.conversational:
            proxies = proxies_of(self.bound.address, running)
            if proxies is None:
                return ServiceDatagrams(service, gate=gate, counters=self.counters, scheme=scheme, loopback=loopback)
            return ProxiedDatagrams(
                service, gate=gate, counters=self.counters, scheme=scheme, loopback=loopback, proxies=proxies
            )
        return SessionDatagrams(
            service,
            gate=gate,
            connections=running.connections,
            members=shared.state.members,
            counters=self.counters,
            scheme=scheme,
            loopback=loopback,
            clock=shared.reactor,
        )

    def _report_refused_filter(self, error: str) -> None:
        self._shared.events.tell("filter.refused", service=self.name, address=self.label, error=error)

    def _set_datagram_faults(self, protocol: ServiceDatagrams) -> None:
        injector, shared = self.running.injector, self._shared
        if injector is None:
            protocol.faults = None
        elif protocol.faults is None:
            mark = shared.state.send_budget.mark(self.running.config.limits.total_buffer)
            protocol.faults = DatagramFaults(injector, shared.reactor, self.counters, mark)

    @property
    def _resources(self) -> Mapping[str, Resource]:
        """The services that share the socket, by path."""
        opened = self.bound.socket
        return opened.resources if isinstance(opened, SharedSocket) else {}

    @property
    def name(self) -> str:
        """The name of its service."""
        return self.running.config.name

    @property
    def serves(self) -> tuple[object, ...]:
        """The key of its connections: the name and kind of the service, and the address."""
        return (self.name, self.running.config.kind, self.label)

    @property
    def is_admin(self) -> bool:
        """Whether it belongs to the admin interface."""
        return self.running.config.kind is AdminService

    def begin(self) -> None:
        """Start serving."""
        self._grant()
        self.port.startListening()

    def discard(self) -> None:
        """Release a listener that will not begin. The resources that it opened are closed; its socket stays open."""
        if isinstance(self.port, StreamLane | UDPLane):
            self.port.discard()

    def can_continue(self, config: ServiceConfig, plane: Loop | None) -> bool:
        """Whether it can continue under another configuration. If not, a new listener has to take its socket over."""
        ours = self.running.config
        if isinstance(self.port, HeldPort) or isinstance(self._protocol, SessionDatagrams):  # never on the fast path
            return (ours.name, ours.kind) == (config.name, config.kind)
        if (ours.name, ours.kind, self._plane) != (config.name, config.kind, plane):
            return False
        if injects(config) is not (self.running.injector is not None):
            return False  # only connections of a FaultFactory have faults
        wraps = self.running.would_wrap(config)
        in_place = ours.kind.in_place is not Service.in_place
        if plane is not None and (ours.kind.transform or in_place) and wraps is not self.running.is_wrapped:
            return False  # only a service that neither prints nor records can use the fast path
        if plane is not None and in_place and ours.options != config.options:
            return False  # whether it can use the fast path depends on its options
        old, new = ours.limits, config.limits
        if (old.buffer, old.total_buffer) != (new.buffer, new.total_buffer):
            return False
        # A connection keeps the limits it began with. A Conversation has its own; a lane has one set for all.
        return not isinstance(self.port, StreamLane) or (old.idle, old.stall) == (new.idle, new.stall)

    def reconfigure(self, running: RunningService, bound: BoundSocket) -> None:
        """Continue with a service that replaced the present one."""
        self.running, self.bound = running, bound
        if self.factory is not None:
            layers = layers_of(bound.address, running, self._shared, self._resources)
            proxies = proxies_of(bound.address, running)
            self.factory.reconfigure(running.frontend, running.config.limits, layers, proxies)
            self._grant()
            if isinstance(self.port, PathPort):
                self.port.reconfigure(resource_of(bound.address, running, self._shared))
        if self._protocol is not None:
            self._protocol.service = running.frontend
            self._set_datagram_faults(self._protocol)
            if isinstance(self._protocol, ProxiedDatagrams):
                self._protocol.proxies = Access(running.config.proxy_from)
        self.forget_decisions()

    def _grant(self) -> None:
        """Apply the access lists and limits of the service: to its own gate, and `stall` to the socket."""
        if self._own_gate is not None:
            self._own_gate.reconfigure(self.running.connections.access, self.running.config.limits)
        self.bound.transport.set_stall(self.bound.socket, self.running.config.limits.stall)

    def forget_decisions(self) -> None:
        """Forget cached decisions: access lists, own ports or broadcast addresses have changed."""
        if isinstance(self.port, UDPLane | DatagramPort):
            self.port.forget()

    def connections(self, worth: Worth | None = None) -> Iterator[dict[str, Any] | None]:
        """The open connections, as the admin interface shows them; None for others, as `describe_connections`."""
        if self.factory is not None:
            where: Mapping[str, Any] = {"service": self.name, "address": self.label}
            described = self.factory.describe_connections(worth)
            yield from (one if one is None else {**where, **one} for one in described)


def _counters(shared: DaemonContext, service: str, address: str) -> Counters:
    """The counters of this service at this address, or new ones."""
    counters = shared.all_counters.get((service, address))
    if counters is None:
        counters = shared.all_counters[(service, address)] = shared.state.counters(service, address)
    return counters


def used(
    all_counters: Mapping[tuple[str, str], Counters], listeners: Iterable[Listener]
) -> dict[tuple[str, str], Counters]:
    """The counters of a listener, and those that are not 0. The others would accumulate with reloads."""
    ours = {(listener.name, listener.label) for listener in listeners}
    return {key: counters for key, counters in all_counters.items() if key in ours or counters.figures()}


def listeners(
    bound: Iterable[BoundSocket], running: Mapping[str, RunningService], shared: DaemonContext
) -> list[Listener]:
    """A listener for each of these sockets; `running` has the services by name.

    Raises ResourceRefused after it has closed the listeners that it made.
    """
    made: list[Listener] = []
    for one in bound:
        try:
            made.append(Listener(one, running[one.service.name], shared))
        except OSError as error:
            for listener in made:
                listener.discard()
            raise ResourceRefused(f"{one.address.label}: {system_error(error)}") from error
    return made
