"""The running daemon: services, gates and ports put together for every address, exchanged, and taken apart again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver

from echod.admin.resources import DaemonResources, Verdict
from echod.admin.service import AdminService
from echod.config.settings import Configuration
from echod.daemon.administration import DaemonView, services_of
from echod.daemon.awaited_addresses import AwaitedAddresses, listeners_of
from echod.daemon.bind import Bound, Unbindable, Wanted, bind_all, open_to_nobody, wanted
from echod.daemon.descriptors import spare
from echod.daemon.fast_path import FastPath
from echod.daemon.leaving import Leaving
from echod.daemon.listener import Served, Shared, Unready, UnusableService, listeners, used
from echod.daemon.reload import Refused, Unchangeable, at_the_next_start, changed, changes, difference, readapt, rebound
from echod.daemon.reloading import Read, Reloads
from echod.daemon.startup_heap import freeze_startup_heap
from echod.daemon.store import Store
from echod.events import Events
from echod.fastpath.loop import Loop
from echod.gate.members import MemberGate
from echod.gate.network_rate import Total
from echod.gate.send_budget import SendBudget
from echod.gate.work_budget import WorkBudget
from echod.model import Context
from echod.telemetry.background_writer import Output
from echod.telemetry.log import Log
from echod.telemetry.service_output import Shown
from echod.text import system_error
from echod.transports.interfaces import broadcasts
from echod.transports.service_factory import ServiceFactory
from echod.transports.stream_port import Reserve

INTERFACES_EVERY: Final = 60.0  #: seconds between looks at the interfaces' broadcast addresses
ADMIN_EVERY: Final = 1.0  #: seconds between looks at who takes too long at the administrator's interface


class Daemon(Service):
    """Serves what was bound. twistd starts it after the fork and stops it before the reactor ends.

    What services show goes to `show_on`, or to the log where that is None. A reload binds through `store`; `reread`
    reads the configuration anew, in a thread, and raises Refused.
    Raises UnusableService, or Unready where the descriptors do not suffice; `bound` is the caller's then.
    """

    def __init__(
        self,
        configuration: Configuration,
        bound: Sequence[Bound],
        reactor: Any,
        log: Log,
        show_on: Output | None,
        store: Store,
        reread: Callable[[], Read] | None = None,
        absent: Mapping[Wanted, str] = MappingProxyType({}),
    ) -> None:
        self.configuration = self.begun_with = configuration
        self.events = Events()
        self.log = log
        self.outputs = [log.output] if show_on in (None, log.output) else [log.output, show_on]
        self.serving = False
        self.become: Callable[[], None] = lambda: None  #: drops what only the start needed
        self.reloads = Reloads(self, reactor, (lambda: (self.configuration, ())) if reread is None else reread)
        self._store = store
        self._reactor = reactor
        self._shown = Shown(log.show if show_on is None else show_on.line, reactor.seconds, reactor.callLater)
        context = Context(
            clock=reactor.seconds,
            show=self._shown,
            shows=self._shown.has_room,
            terminal=show_on is not None and show_on.is_terminal,
            later=reactor.callLater,
            work=WorkBudget(reactor.callLater),
        )
        self.view = DaemonView(self, context)
        self._admin = AdminService(DaemonResources(self.view), context)
        self._own_ports: set[int] = set()
        self._broadcasts: set[bytes] = set()
        self._plane: Loop | None = None
        self._fast_path = FastPath(reactor, partial(log.say, "warn"))
        self.shared = Shared(
            reactor=reactor,
            events=self.events,
            context=context,
            admin=self._admin,
            reserve=Reserve(),
            plane=None,
            pipes_below=spare(configuration),
            total=Total(),
            members=MemberGate(reactor.seconds),
            send_budget=SendBudget(self.events.tell),
            own_ports=self._own_ports,
            broadcasts=self._broadcasts,
            tallies={},
        )
        self._plane = self.shared.plane = self._fast_path.loop(configuration)
        self._served = {one.name: Served(one, self.shared) for one in services_of(configuration)}
        self.listeners = listeners(bound, self._served, self.shared)
        self.leaving = Leaving(reactor)
        self.awaited = AwaitedAddresses(reactor, self._serve_late, self.events.tell)
        self._absent = absent
        self._abandoned = False
        self._interfaces = LoopingCall(self._look_at_interfaces)
        self._admin_look = LoopingCall(self._admin.look)
        self._interfaces.clock = self._admin_look.clock = reactor
        self.events.subscribe(log.event, connections=configuration.daemon.log_level == "debug")

    def setServiceParent(self, parent: Any) -> None:
        """Become the application's service, and its log."""
        parent.setComponent(ILogObserver, self.log)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Become who serves: twistd has forked, and nothing is read yet."""
        super().privilegedStartService()
        self.become()

    def startService(self) -> None:
        """Serve everything: it is bound and opened, so nothing can fail but for want of memory."""
        super().startService()
        for output in self.outputs:
            output.start()
        self.shared.reserve.keep()
        if self._plane is not None:
            self._plane.start()
        self._look_at_ports(listener.bound for listener in self.listeners)
        self._interfaces.start(INTERFACES_EVERY)
        self._admin_look.start(ADMIN_EVERY, now=False)
        for listener in self.listeners:
            listener.begin()
        self._reactor.callWhenRunning(self._ready)  # a signal is not lost from here on

    def _ready(self) -> None:
        freeze_startup_heap()
        self.serving = True
        for listener in self.listeners:
            self.events.tell("listener.opened", service=listener.name, address=listener.place)
        self.awaited.begin(self._absent)
        self.events.tell("daemon.ready", listeners=len(self.listeners))

    def _serve_late(self, place: Wanted) -> str | None:
        """Serve an address that was not there before; why it cannot be served yet, or None."""
        begun = listeners_of(place, self._store, self._served, self.shared)
        if isinstance(begun, str):
            return begun
        self.listeners += begun
        self._look_at_ports(listener.bound for listener in self.listeners)
        for listener in begun:
            listener.begin()
            self.events.tell("listener.opened", service=listener.name, address=listener.place)
        return None

    # the configuration, exchanged

    def reload(self, done: Callable[[Verdict], None] = lambda _: None, by: str = "SIGHUP") -> None:
        """Read the configuration anew and serve it, or keep the old one; `done` hears which, and why."""
        self.reloads.ask(done, by)

    def reopen_logs(self) -> None:
        """Open the log files again, after a rename."""
        for output in self.outputs:
            try:
                output.reopen()
            except OSError as error:  # it goes on with the file it has
                self.log.say("error", f"the log file cannot be opened again: {system_error(error)}")

    def rotated(self) -> None:
        """Open the log files again, and say so in the new ones."""
        self.reopen_logs()
        self.log.say("info", "log files opened again, for SIGUSR1")

    def exchange(self, configuration: Configuration) -> Verdict:
        """Serve another configuration. Raises Refused, and then nothing has changed."""
        services = services_of(configuration)
        absent: dict[Wanted, str] = {}
        tallies = used(self.shared.tallies, self.listeners)
        try:
            with ExitStack() as undo:
                plane = self._plane_for(configuration, undo)
                shared = replace(self.shared, plane=plane, pipes_below=spare(configuration), tallies=tallies)
                found = difference(self.listeners, wanted(services), plane)
                before = {one.name: self._predecessor(one) for one in services}
                served = {one.name: Served(one, shared, before[one.name]) for one in services}
                bound = bind_all(self._reactor, found.new, self._store, absent)
                for one in bound:
                    undo.callback(one.close)
                renewed = [rebound(listener.bound, place) for listener, place in found.renewed]
                begun = listeners([*bound, *renewed], served, shared)
                undo.pop_all()
        except (Unchangeable, Unbindable) as error:
            raise Refused(71, error.faults) from error
        except UnusableService as error:
            raise Refused(78, [str(error)]) from error
        except Unready as error:
            raise Refused(71, [str(error)]) from error

        # From here on nothing can fail.
        otherwise = changed(self.listeners, configuration.services)
        verdict = Verdict(
            opened=len(bound),
            closed=len(found.gone),
            changed=len(otherwise),
            changes=tuple(changes(found, bound, otherwise, self.configuration, configuration)),
            notes=(*at_the_next_start(self.begun_with, configuration), *open_to_nobody(bound)),
        )
        retired = [one.service for one in self._served.values() if one not in before.values()]
        self.configuration, self._served, self.shared = configuration, served, shared
        if plane is not None and self._plane is None:
            self._plane = plane
            plane.start()
        self.log.govern(configuration.daemon.log_format, configuration.daemon.log_level)
        self.events.subscribe(self.log.event, connections=configuration.daemon.log_level == "debug")
        for service in served.values():
            service.begin()
        for listener, place in (*found.renewed, *found.going_on):
            readapt(listener.bound, place)
        for listener, _ in found.renewed:
            listener.port.release()
            self.leaving.add(listener)
        for listener, place in found.going_on:
            listener.govern(served[place.service.name], rebound(listener.bound, place))
        self.listeners = [listener for listener, _ in found.going_on] + begun
        self._look_at_ports(listener.bound for listener in self.listeners)
        for listener in begun:
            listener.begin()
        for listener in begun[: len(bound)]:
            self.events.tell("listener.opened", service=listener.name, address=listener.place)
        for listener in found.gone:
            listener.port.stopListening()
            self.leaving.add(listener)
            self.events.tell("listener.closed", service=listener.name, address=listener.place)
        self.awaited.begin(absent)
        self.leaving.look(self.listeners, configuration.daemon.drain)
        for gone in retired:
            gone.retire()
        return verdict

    def _plane_for(self, configuration: Configuration, undo: ExitStack) -> Loop | None:
        """The plane's loop, if there is to be one; a new one has not started yet. Raises Unready."""
        if self._plane is not None and configuration.daemon.plane == "auto":
            return self._plane
        plane = self._fast_path.loop(configuration)
        if plane is not None:
            undo.callback(plane.discard)
        return plane

    def _predecessor(self, config: Any) -> Served | None:
        ours = self._served.get(config.name)
        return ours if ours is not None and ours.config.kind is config.kind else None

    # the end

    def stopService(self) -> Deferred[object]:
        """Stop accepting, let the conversations end for `drain` at most; fires when the last one has."""
        super().stopService()
        self.serving = False
        self.awaited.stop()
        for listener in self.listeners:
            if not listener.is_admin:
                listener.port.stopListening()
                self.events.tell("listener.closed", service=listener.name, address=listener.place)
        if self._interfaces.running:
            self._interfaces.stop()
        seconds = self.configuration.daemon.drain
        if self._plane is not None:
            self._plane.stop()
        if connections := sum(len(factory.conversations) for factory in self._talking()):
            self.events.tell("daemon.draining", connections=connections, seconds=seconds)
        left = self.leaving.drain(seconds)
        drained = DeferredList([*(factory.drain(seconds) for factory in self._listening()), *left])
        deadline = self._reactor.callLater(0 if self._abandoned else seconds, self.abandon)
        return drained.addCallback(self._stopped, deadline)

    def abandon(self) -> None:
        """End every conversation at once, also those that the plane has not handed over yet."""
        self._abandoned = True
        for factory in self._talking():
            factory.abandon()

    def _talking(self) -> list[ServiceFactory]:
        """Whose conversations a stop waits for: the administrator's interface tells of it to the end."""
        return [*self._listening(), *(one.factory for one in self.leaving if one.factory is not None)]

    def _listening(self) -> list[ServiceFactory]:
        return [one.factory for one in self.listeners if one.factory is not None and not one.is_admin]

    def figures(self) -> Mapping[str, Mapping[str, int]]:
        """Every counter that is not 0, by service and address: exact, open connections included."""
        self.settle()
        return {f"{name} {place}": tally.figures() for (name, place), tally in self.shared.tallies.items()}

    def settle(self) -> None:
        """Bring the byte counts of open connections into the tallies."""
        for _ in self.settle_slices():
            pass

    def settle_slices(self) -> Iterator[None]:
        """As settle, in steps that are short however many connections there are."""
        for listener in (*self.listeners, *self.leaving):
            if listener.factory is not None:
                yield from listener.factory.settle_slices()

    def _stopped(self, _results: object, deadline: Any) -> None:
        if deadline.active():
            deadline.cancel()
        for listener in self.listeners:
            if listener.is_admin:
                listener.port.stopListening()
                if listener.factory is not None:
                    listener.factory.abandon()
        if self._admin_look.running:
            self._admin_look.stop()
        lost = sum(output.lost for output in self.outputs)
        if lost or self.events.failures:
            self.events.tell("log.incomplete", lines=lost, events=self.events.failures)
        self._shown.settle()
        self.log.settle()
        ours = {**self.log.figures(), **self.shared.send_budget.figures()}
        self.events.tell("daemon.stopped", counters={**self.figures(), **({"daemon": ours} if ours else {})})
        for output in self.outputs:
            output.stop()

    def _look_at_ports(self, bound: Iterable[Bound]) -> None:
        ports = {one.address.port for one in bound if not one.transport.shape.has_connections and one.address.port}
        self._own_ports.clear()
        self._own_ports.update(ports)
        for listener in self.listeners:
            listener.look_again()

    def _look_at_interfaces(self) -> None:
        found = broadcasts()
        if found is None:
            return
        self._broadcasts.clear()
        self._broadcasts.update(found)
        for listener in self.listeners:
            listener.look_again()
