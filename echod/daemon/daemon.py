"""The running daemon: starts, exchanges, drains and stops the objects that `echod.daemon.assembly` builds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import ILogObserver

from echod.admin.resources import ReloadResult
from echod.config.settings import Configuration
from echod.daemon.admin_view import DaemonView, admin_service
from echod.daemon.assembly import Assembler, Assembly, Replacement, context_of
from echod.daemon.awaited_addresses import AwaitedAddresses
from echod.daemon.bind import Bind, BoundSocket, ListenSpec, grouped, start_warnings
from echod.daemon.certificate_watch import CertificateWatch, served_by
from echod.daemon.config_diff import (
    ConfigurationRefused,
    at_the_next_start,
    changed,
    changes,
    readapt,
    rebound,
)
from echod.daemon.daemon_figures import last_figures
from echod.daemon.daemon_wide_state import LocalState, MakeState
from echod.daemon.draining import DrainingListeners
from echod.daemon.listener import Listener
from echod.daemon.periodic_checks import PeriodicChecks
from echod.daemon.refusal_watch import CHECKED_EVERY, RefusalWatch
from echod.daemon.reloader import Read, Reloader
from echod.daemon.running_service import DaemonContext
from echod.daemon.worker_pool_interface import DaemonBus, WorkerPool
from echod.escaping import system_error
from echod.events import Events
from echod.startup_heap import freeze_startup_heap
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.log import Log
from echod.telemetry.service_output_limit import ServiceOutput
from echod.transports.broadcast_addresses import broadcasts
from echod.transports.service_factory import ServiceFactory

INTERFACES_EVERY: Final = 60.0  #: seconds between two reads of the interfaces' broadcast addresses
ADMIN_EVERY: Final = 1.0  #: seconds between two checks for admin requests that take too long


class Daemon(Service):
    """Serves the sockets in `bound`. twistd starts it after the fork and stops it before the reactor ends.

    With `workers` it serves the admin interface only, and the workers serve all other sockets.

    Lines that services print go to `show_on`, or to the log if that is None. A reload opens sockets by `bind`; `reread`
    reads the configuration again, in a thread, and raises ConfigurationRefused.
    Raises UnusableService or ResourceRefused; the caller closes the sockets in `bound` then.
    """

    def __init__(
        self,
        configuration: Configuration,
        bound: Sequence[BoundSocket],
        reactor: Any,
        log: Log,
        show_on: BackgroundWriter | None,
        bind: Bind,
        reread: Callable[[], Read] | None = None,
        absent: Mapping[ListenSpec, str] = MappingProxyType({}),
        make_state: MakeState = LocalState,
        workers: WorkerPool | None = None,
    ) -> None:
        self.begun_with = configuration
        self.events = Events()
        self.log = log
        self.outputs = [log.output] if show_on in (None, log.output) else [log.output, show_on]
        self.serving = self._exchanging = self._abandoned = False
        self.bus: DaemonBus | None = None
        self.become: Callable[[], None] = lambda: None  #: drops the privileges that only the start needs
        self.began: Callable[[], None] = freeze_startup_heap  #: called when everything is served
        self.reloads = Reloader(self, reactor, (lambda: (self.configuration, ())) if reread is None else reread)
        self.workers = workers
        self._reactor = reactor
        self._shown = ServiceOutput(log.show if show_on is None else show_on.line, reactor.seconds, reactor.callLater)
        context = context_of(reactor, self._shown, show_on)
        self.view = DaemonView(self, context)
        self._admin = admin_service(self.view, context)
        self._assembler = Assembler(reactor, bind, partial(log.say, "warn"))
        make_state = make_state if workers is None else workers.make_state
        self.assembly = self._assembler.first(
            configuration, bound, self.events, context, self._admin, make_state, held=workers is not None
        )
        self._plane = self.shared.plane  # it runs until the stop, also if a reload stops using it
        self.leaving = DrainingListeners(reactor)
        self.awaited = AwaitedAddresses(reactor, self._serve_late, self.events.tell)
        self._certificates = CertificateWatch(reactor, context.wall_clock, self.events.tell)
        self._absent = absent
        self._limits = RefusalWatch(context.clock, self.events.tell)
        self._checks = PeriodicChecks(reactor)
        self._checks.add(INTERFACES_EVERY, self._update_broadcasts)
        self._checks.add(ADMIN_EVERY, self._admin.end_overdue_requests)
        self._checks.add(CHECKED_EVERY, self._check_limits)
        self.events.subscribe(log.event, connections=configuration.daemon.log_level == "debug")

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self.assembly.configuration

    @property
    def shared(self) -> DaemonContext:
        """The objects that all listeners share."""
        return self.assembly.shared

    @property
    def listeners(self) -> list[Listener]:
        """The listeners that accept, or that will accept after the start."""
        return self.assembly.listeners

    def setServiceParent(self, parent: Any) -> None:
        """Set the application's service, and its log observer."""
        parent.setComponent(ILogObserver, self.log)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Drop privileges: twistd has forked, and no byte of a client has been read yet."""
        super().privilegedStartService()
        self.become()

    def startService(self) -> None:
        """Start every listener. All sockets are bound and open, so only a lack of memory can make it fail."""
        super().startService()
        for output in self.outputs:
            output.start()
        self.shared.reserve.keep()
        if self._plane is not None:
            self._plane.start()
        self._update_own_ports(listener.bound for listener in self.listeners)
        self._checks.start()
        for service in self.assembly.services.values():
            service.begin()
        for listener in self.listeners:
            listener.begin()
        if self.workers is None:
            self._reactor.callWhenRunning(self._ready)  # signal handlers are installed by then
        else:
            self._reactor.callWhenRunning(self.workers.begin, self, self._ready)

    def _ready(self) -> None:
        if not self.running:  # a stop came first
            return
        self.began()
        self.serving = True
        self._tell_of("listener.opened", self.listeners)
        self.awaited.begin(self._absent)
        self.events.tell("daemon.ready", listeners=len(self.listeners))
        self._certificates.update(served_by(self.configuration))

    def _serve_late(self, spec: ListenSpec) -> str | None:
        """Serve an address that could not be bound before. Returns None, or why it cannot be bound yet."""
        if self._exchanging:
            return "a reload is in progress"
        begun = self._assembler.late(self.assembly, spec)
        if isinstance(begun, str):
            return begun
        self.listeners.extend(begun)
        self._update_own_ports(listener.bound for listener in self.listeners)
        for listener in begun:
            listener.begin()
        if (workers := self.workers) is not None:
            prepared = workers.prepare(self.configuration, [listener.bound for listener in begun])
            prepared.addCallbacks(lambda _: workers.commit(), self._report)
        self._tell_of("listener.opened", begun)
        return None

    def _report(self, failure: Any) -> None:
        self.log.say("error", failure.getErrorMessage())

    def _tell_of(self, event: str, listeners: Iterable[Listener]) -> None:
        """Publish an event of listeners; the ports of a range are one event."""
        for service, address in grouped(listener.bound for listener in listeners):
            self.events.tell(event, service=service, address=address)

    # reload

    def reload(self, done: Callable[[ReloadResult], None] = lambda _: None, by: str = "SIGHUP") -> None:
        """Read the configuration again and serve it, or keep the old one; `done` is called with the result.

        `by` is the source of the request: a signal, or the administrator.
        """
        self.reloads.ask(done, by)

    def reopen_logs(self) -> None:
        """Open the log files again, after a rename."""
        for output in self.outputs:
            try:
                output.reopen()
            except OSError as error:  # it continues with the open file
                self.log.say("error", f"the log file cannot be opened again: {system_error(error)}")

    def rotated(self) -> None:
        """Open the log files again, and log it to the new ones."""
        self.reopen_logs()
        self.log.say("info", "log files opened again, for SIGUSR1")

    async def exchange(self, configuration: Configuration) -> ReloadResult:
        """Serve another configuration. Raises ConfigurationRefused; nothing has changed then."""
        new = self.prepare(configuration)
        if self.workers is not None:
            self._exchanging = True
            try:
                await self.workers.prepare(configuration, new.bound)
                if not self.running:
                    raise ConfigurationRefused(71, ["the daemon is stopping"])
            except ConfigurationRefused:
                new.undo()
                raise
            finally:
                self._exchanging = False
        return self.apply(new)

    def prepare(self, configuration: Configuration) -> Replacement:
        """Build what serves another configuration, for `apply`. Raises ConfigurationRefused."""
        return self._assembler.replacement(self.assembly, configuration, self._plane)

    def apply(self, new: Replacement) -> ReloadResult:
        """Serve what was prepared. It cannot fail."""
        found, begun, configuration = new.difference, new.begun, new.configuration
        otherwise = changed(self.listeners, configuration.services)
        result = ReloadResult(
            opened=len(new.bound),
            closed=len(found.gone),
            changed=len(otherwise),
            changes=tuple(changes(found, new.bound, otherwise, self.configuration, configuration)),
            notes=(*at_the_next_start(self.begun_with, configuration), *start_warnings(new.bound)),
        )
        going_on = [listener for listener, _ in found.going_on]
        self.assembly = Assembly(configuration, new.shared, new.services, going_on + begun)
        if new.shared.plane is not None and self._plane is None:
            self._plane = new.shared.plane
            self._plane.start()
        self.log.reconfigure(configuration.daemon.log_format, configuration.daemon.log_level)
        self.events.subscribe(self.log.event, connections=configuration.daemon.log_level == "debug")
        for service in new.services.values():
            service.begin()
        for listener, spec in (*found.renewed, *found.going_on):
            readapt(listener.bound, spec)
        for listener, _ in found.renewed:
            listener.port.release()
            self.leaving.add(listener)
        for listener, spec in found.going_on:
            listener.reconfigure(new.services[spec.service.name], rebound(listener.bound, spec))
        self._update_own_ports(listener.bound for listener in self.listeners)
        for listener in begun:
            listener.begin()
        if self.workers is not None:
            self.workers.commit()
        self._tell_of("listener.opened", begun[: len(new.bound)])
        for listener in found.gone:
            listener.port.stopListening()
            self.leaving.add(listener)
        self._tell_of("listener.closed", found.gone)
        self.awaited.begin(new.absent)
        self._certificates.update(served_by(configuration))
        self.leaving.sweep(self.listeners, configuration.daemon.drain)
        for gone in new.retired:
            gone.service.retire()
            gone.end()
        return result

    # stop

    def stopService(self) -> Deferred[object]:
        """Stop accepting, and drain the conversations for at most `drain`; fires when the last one has ended."""
        super().stopService()
        self.serving = False
        self.awaited.stop()
        self._certificates.stop()
        for service in self.assembly.services.values():
            service.end()
        closing = [listener for listener in self.listeners if not listener.is_admin]
        for listener in closing:
            listener.port.stopListening()
        self._tell_of("listener.closed", closing)
        seconds = self.configuration.daemon.drain
        if self._plane is not None:
            self._plane.stop()
        connections = self.workers.connections if self.workers is not None else 0
        if connections := connections + sum(len(factory.conversations) for factory in self._talking()):
            self.events.tell("daemon.draining", connections=connections, seconds=seconds)
        left = self.leaving.drain(seconds)
        if self.workers is not None:
            left.append(self.workers.stop(seconds))
        drained = DeferredList([*(factory.drain(seconds) for factory in self._listening()), *left])
        deadline = self._reactor.callLater(0 if self._abandoned else seconds, self.abandon)
        return drained.addCallback(self._stopped, deadline)

    def abandon(self) -> None:
        """End every conversation at once, including those that the fast path has not handed over yet."""
        self._abandoned = True
        if self.workers is not None:
            self.workers.abandon()
        for factory in self._talking():
            factory.abandon()

    def _talking(self) -> list[ServiceFactory]:
        """The factories whose conversations a stop waits for. The admin interface is closed after them."""
        return [*self._listening(), *(one.factory for one in self.leaving if one.factory is not None)]

    def _listening(self) -> list[ServiceFactory]:
        return [one.factory for one in self.listeners if one.factory is not None and not one.is_admin]

    def _stopped(self, _results: object, deadline: Any) -> Deferred[None] | None:
        if deadline.active():
            deadline.cancel()
        for listener in self.listeners:
            if listener.is_admin:
                listener.port.stopListening()
                if listener.factory is not None:
                    listener.factory.abandon()
        self._checks.stop()
        lost = sum(output.lost for output in self.outputs)
        if lost or self.events.failures:
            self.events.tell("log.incomplete", lines=lost, events=self.events.failures)
        self._shown.report_suppressed()
        self.log.report_suppressed()
        self.events.tell("daemon.stopped", counters=last_figures(self))
        for output in self.outputs:
            output.stop()
        return None if self.bus is None else self.bus.end()

    def _update_own_ports(self, bound: Iterable[BoundSocket]) -> None:
        ports = {one.address.port for one in bound if not one.transport.shape.has_connections and one.address.port}
        self._replace(self.shared.own_ports, ports)

    def _update_broadcasts(self) -> None:
        if (found := broadcasts()) is not None:
            self._replace(self.shared.broadcasts, found)

    def _replace(self, known: set[Any], found: Iterable[Any]) -> None:
        known.clear()
        known.update(found)
        for listener in self.listeners:
            listener.forget_decisions()

    def _check_limits(self) -> None:
        if self.serving:
            self.view.gather(0, lambda: self._limits.check(self.configuration, self.shared.all_counters))
