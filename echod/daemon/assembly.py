"""Assembly: builds the objects that serve a configuration. It starts, stops and sends nothing.

`first` builds the objects of a start, and `replacement` those of a reload. Each builds everything or raises; if it
raises, the sockets that it opened are closed. `echod.daemon.daemon` starts, drains and stops the objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from echod.admin.access_control import AdminService
from echod.config.settings import Configuration, ServiceConfig
from echod.daemon.admin_view import services_of
from echod.daemon.bind import Bind, BoundSocket, ListenSpec, Unbindable, specs_of
from echod.daemon.config_diff import ConfigurationRefused, Difference, FixedOptions, difference, rebound
from echod.daemon.daemon_wide_state import MakeState
from echod.daemon.fast_path import FastPath
from echod.daemon.fd_limit import spare
from echod.daemon.listener import Listener, listeners, used
from echod.daemon.running_service import DaemonContext, ResourceRefused, RunningService, UnusableService
from echod.events import Events
from echod.fastpath.loop import Loop
from echod.gate.work_budget import WorkBudget
from echod.model import Context
from echod.pages.pages import Files, Pages
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.service_output_limit import ServiceOutput
from echod.transports.accept_backoff import SpareDescriptor


@dataclass
class Assembly:
    """The objects that serve one configuration."""

    configuration: Configuration
    shared: DaemonContext
    services: dict[str, RunningService]  #: by the name of the service
    listeners: list[Listener]


@dataclass
class Replacement:
    """The objects that will replace an assembly. None of them has started, and the assembly has not changed."""

    configuration: Configuration
    shared: DaemonContext
    services: dict[str, RunningService]
    retired: list[RunningService]  #: services that the configuration no longer has
    difference: Difference
    bound: list[BoundSocket]  #: the sockets that were opened
    begun: list[Listener]  #: for those sockets, in their order, and then for each renewed one
    absent: dict[ListenSpec, str]  #: addresses that this machine does not have yet, and why they cannot be bound
    undo: Callable[[], None]  #: closes what was opened, instead of an exchange


def context_of(reactor: Any, shown: ServiceOutput, show_on: BackgroundWriter | None) -> Context:
    """The environment of every service of a daemon."""
    return Context(
        clock=reactor.seconds,
        show=shown,
        shows=shown.has_room,
        terminal=show_on is not None and show_on.is_terminal,
        later=reactor.callLater,
        work=WorkBudget(reactor.callLater),
    )


class Assembler:
    """Builds the assemblies of one daemon.

    `bind` opens the sockets of addresses. `warn` gets a line if the kernel refuses what the fast path needs.
    """

    def __init__(self, reactor: Any, bind: Bind, warn: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._bind = bind
        self._fast_path = FastPath(reactor, warn)

    def first(
        self,
        configuration: Configuration,
        bound: Sequence[BoundSocket],
        events: Events,
        context: Context,
        admin: AdminService,
        make_state: MakeState,
        *,
        held: bool,
    ) -> Assembly:
        """The objects that serve these sockets, or that hold them for workers.

        After UnusableService or ResourceRefused the sockets stay open.
        """
        shared = DaemonContext(
            reactor=self._reactor,
            events=events,
            context=context,
            admin=admin,
            reserve=SpareDescriptor(),
            plane=None,
            pipes_below=spare(configuration),
            state=make_state(self._reactor.seconds, events.tell),
            own_ports=set(),
            broadcasts=set(),
            all_counters={},
            pages=Pages(Files.read()),
            held=held,
        )
        shared.plane = None if held else self._fast_path.loop(configuration)
        running = {one.name: RunningService(one, shared) for one in services_of(configuration)}
        return Assembly(configuration, shared, running, listeners(bound, running, shared))

    def replacement(self, current: Assembly, configuration: Configuration, plane: Loop | None) -> Replacement:
        """The objects that serve another configuration; `plane` is the loop of the fast path that is already running.

        Raises ConfigurationRefused.
        """
        services = services_of(configuration)
        absent: dict[ListenSpec, str] = {}
        all_counters = used(current.shared.all_counters, current.listeners)
        try:
            with ExitStack() as undo:
                plane = None if current.shared.held else self._plane_for(configuration, plane, undo)
                shared = replace(
                    current.shared, plane=plane, pipes_below=spare(configuration), all_counters=all_counters
                )
                beside = [listener.bound for listener in current.listeners]
                found = difference(current.listeners, specs_of(services), plane)
                before = {one.name: _predecessor(current, one) for one in services}
                running = {one.name: RunningService(one, shared, before[one.name]) for one in services}
                bound = self._bind(found.new, absent, beside)
                for one in bound:
                    undo.callback(one.close)
                renewed = [rebound(listener.bound, spec) for listener, spec in found.renewed]
                begun = listeners([*bound, *renewed], running, shared)
                for listener in begun:
                    undo.callback(listener.discard)
                opened = undo.pop_all()
        except (FixedOptions, Unbindable) as error:
            raise ConfigurationRefused(71, error.errors) from error
        except UnusableService as error:
            raise ConfigurationRefused(78, [str(error)]) from error
        except ResourceRefused as error:
            raise ConfigurationRefused(71, [str(error)]) from error
        retired = [one for one in current.services.values() if one not in before.values()]
        return Replacement(configuration, shared, running, retired, found, bound, begun, absent, opened.close)

    def late(self, current: Assembly, spec: ListenSpec) -> list[Listener] | str:
        """The listeners of an address that this machine did not have before, or why it cannot be bound yet."""
        absent: dict[ListenSpec, str] = {}
        try:
            beside = [listener.bound for listener in current.listeners]
            bound = self._bind([spec], absent, beside)
        except Unbindable as error:
            return str(error)
        if absent:
            return absent[spec]
        try:
            return listeners(bound, current.services, current.shared)
        except ResourceRefused as error:
            for one in bound:
                one.close()
            return str(error)

    def _plane_for(self, configuration: Configuration, running: Loop | None, undo: ExitStack) -> Loop | None:
        """The loop of the fast path, or None if the configuration turns it off. A new one is not started yet.

        Raises ResourceRefused.
        """
        if running is not None and configuration.daemon.plane != "off":
            return running
        plane = self._fast_path.loop(configuration)
        if plane is not None:
            undo.callback(plane.discard)
        return plane


def _predecessor(current: Assembly, config: ServiceConfig) -> RunningService | None:
    """The running service of the same name and kind, whose sessions the new configuration continues; or None."""
    ours = current.services.get(config.name)
    return ours if ours is not None and ours.config.kind is config.kind else None
