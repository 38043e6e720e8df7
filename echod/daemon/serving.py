"""The running daemon: one service, one gate and one port put together for every address, and taken apart again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver

from echod.address import Address
from echod.config.schema import Configuration, ServiceConfig
from echod.daemon.bind import TRANSPORTS, Bound
from echod.daemon.descriptors import spare
from echod.events import Events, Tally
from echod.gate.access import Access
from echod.gate.connections import ConnectionGate
from echod.gate.datagrams import DatagramGate, Total
from echod.gate.unsent import Unsent
from echod.model import Context
from echod.observe.log import Log
from echod.observe.output import Output
from echod.observe.shown import Shown
from echod.plane import calls
from echod.plane.datagrams import DatagramLane
from echod.plane.loop import Loop
from echod.plane.streams import StreamLane
from echod.transports.accept import Reserve, StreamPort
from echod.transports.conversing import ConversingDatagrams
from echod.transports.datagram import ServiceDatagrams
from echod.transports.interfaces import broadcasts
from echod.transports.stream import ServiceFactory

INTERFACES_EVERY: Final = 60.0  #: seconds between looks at the interfaces' broadcast addresses


class UnusableService(Exception):
    """A kind could not be made with options that are right by themselves; the message says which, and why."""


class Served:
    """One service of the configuration, and the gates before it, whatever its addresses."""

    def __init__(self, config: ServiceConfig, context: Context, daemon: Daemon) -> None:
        self.config = config
        try:
            self.service = config.kind(config.options, context)
        except Exception as error:  # another package's code, or a file that was there a moment ago
            why = f"{type(error).__name__}: {error}"
            raise UnusableService(f"services.{config.name}: kind {config.kind.kind} cannot begin: {why}") from error
        access = Access(config.allow, config.deny)
        self.connections = ConnectionGate(access, config.limits, daemon.clock)
        self.datagrams = DatagramGate(
            access,
            config.limits,
            daemon.clock,
            own_ports=daemon.own_ports,
            broadcasts=daemon.broadcasts,
            larger_to=Access(config.larger_answers_to),
            source_ports=frozenset(config.allow_source_ports),
            total=daemon.total,
        )


class Daemon(Service):
    """Serves what was bound. twistd starts it after the fork and stops it before the reactor ends.

    What services show goes to `show_on`, or to the log where that is None.
    """

    def __init__(
        self, configuration: Configuration, bound: Sequence[Bound], reactor: Any, log: Log, show_on: Output | None
    ) -> None:
        self.configuration = configuration
        self.clock: Callable[[], float] = reactor.seconds
        self.events = Events()
        self.total = Total()
        self.unsent = Unsent(self._tell_of_unsent)
        self.own_ports: set[int] = set()
        self.broadcasts: set[bytes] = set()
        self.tallies: dict[tuple[str, str], Tally] = {}  # by the service's name and the address
        self._bound = list(bound)
        self._reactor = reactor
        self._log = log
        self._outputs = [log.output] if show_on is None else [log.output, show_on]
        self._shown = Shown(log.show if show_on is None else show_on.line, self.clock)
        self._context = Context(clock=self.clock, show=self._shown, later=reactor.callLater)
        self._reserve = Reserve()
        self._factories: list[ServiceFactory] = []
        self._abandoned = False
        self._ports: list[tuple[str, Address, Any]] = []
        self._plane = Loop(reactor) if configuration.daemon.plane == "auto" and calls.available else None
        self._served = {one.name: Served(one, self._context, self) for one in configuration.services}
        self._interfaces = LoopingCall(self._look_at_interfaces)
        self.events.subscribe(log.event, connections=configuration.daemon.log_level == "debug")

    def setServiceParent(self, parent: Any) -> None:
        """Become the application's service, and its log."""
        parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Serve everything: the sockets are bound, so nothing can fail any more."""
        super().startService()
        for output in self._outputs:
            output.start()
        self._reserve.keep()
        if self._plane is not None:
            self._plane.start()
        self.own_ports.update(one.address.port for one in self._bound if not one.streams and one.address.port)
        if any(not one.streams for one in self._bound):
            self._interfaces.start(INTERFACES_EVERY)
        for one in self._bound:
            self._listen(one, self._served[one.service.name])
        self._bound.clear()
        self._reactor.callWhenRunning(self._ready)  # a signal is not lost from here on

    def _ready(self) -> None:
        for name, address, _ in self._ports:
            self.events.tell("listener.opened", service=name, address=address.place)
        self.events.tell("daemon.ready", listeners=len(self._ports))

    def _listen(self, bound: Bound, served: Served) -> None:
        name, place = bound.service.name, bound.address.place
        tally = self.tallies.setdefault((name, place), Tally())
        loopback = bound.loopback
        transport = TRANSPORTS[bound.address.scheme]
        scheme = "tcp" if bound.address.scheme == "endpoint" else bound.address.scheme
        if bound.streams:
            factory = ServiceFactory(
                served.service,
                gate=served.connections,
                tally=tally,
                events=self.events,
                name=name,
                place=place,
                scheme=scheme,
                loopback=loopback,
                clock=self._reactor,
                unsent=self.unsent,
            )
            self._factories.append(factory)
            port = transport.port(self._reactor, bound.socket, bound.address, factory, self._reserve, bound.close)
            if self._plane is not None and isinstance(port, StreamPort) and StreamLane.suits(port):
                port = StreamLane(self._plane, port, self._reserve, spare(self.configuration))
        else:
            protocol = self._datagrams(served, tally, scheme, loopback)
            port = transport.port(self._reactor, bound.socket, bound.address, protocol, bound.close)
            if self._plane is not None and scheme == "udp" and DatagramLane.suits(port):
                port = DatagramLane(self._plane, port)
        port.startListening()
        self._ports.append((name, bound.address, port))

    def _datagrams(self, served: Served, tally: Tally, scheme: str, loopback: bool) -> ServiceDatagrams:
        service, gate = served.service, served.datagrams
        if not service.conversational:
            return ServiceDatagrams(service, gate=gate, tally=tally, scheme=scheme, loopback=loopback)
        return ConversingDatagrams(
            service,
            gate=gate,
            connections=served.connections,
            tally=tally,
            scheme=scheme,
            loopback=loopback,
            clock=self._reactor,
        )

    def stopService(self) -> Deferred[object]:
        """Stop accepting, let the conversations end for `drain` at most; fires when the last one has."""
        super().stopService()
        for name, address, port in self._ports:
            port.stopListening()
            self.events.tell("listener.closed", service=name, address=address.place)
        if self._interfaces.running:
            self._interfaces.stop()
        seconds = self.configuration.daemon.drain
        if self._plane is not None:
            self._plane.stop()
        if connections := sum(len(factory.conversations) for factory in self._factories):
            self.events.tell("daemon.draining", connections=connections, seconds=seconds)
        drained = DeferredList([factory.drain(seconds) for factory in self._factories])
        deadline = self._reactor.callLater(0 if self._abandoned else seconds, self.abandon)
        return drained.addCallback(self._stopped, deadline)

    def _tell_of_unsent(self, limit: int, passed: bool) -> None:
        self.events.tell("reading.paused" if passed else "reading.resumed", limit=limit)

    def abandon(self) -> None:
        """End every conversation at once, also those that the plane has not handed over yet."""
        self._abandoned = True
        for factory in self._factories:
            factory.abandon()

    def figures(self) -> Mapping[str, Mapping[str, int]]:
        """Every counter that is not 0, by service and address: exact, open connections included."""
        for factory in self._factories:
            factory.settle()
        return {f"{name} {place}": tally.figures() for (name, place), tally in self.tallies.items()}

    def _stopped(self, _results: object, deadline: Any) -> None:
        if deadline.active():
            deadline.cancel()
        lost = sum(output.lost for output in self._outputs)
        if lost or self.events.failures:
            self.events.tell("log.incomplete", lines=lost, events=self.events.failures)
        self.events.tell("daemon.stopped", counters=self.figures())
        self._shown.settle()
        for output in self._outputs:
            output.stop()

    def _look_at_interfaces(self) -> None:
        found = broadcasts()
        if found is None:
            return
        self.broadcasts.clear()
        self.broadcasts.update(found)
        for _, _, port in self._ports:
            if isinstance(port, DatagramLane):
                port.forget()
