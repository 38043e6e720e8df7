"""One service of the configuration that runs, with its gates; and the objects that all services of a daemon share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from echod.admin.access_control import AdminService
from echod.config.settings import ServiceConfig
from echod.daemon.daemon_wide_state import SharedState
from echod.events import Counters, Events
from echod.fastpath.loop import Loop
from echod.faults.injector import FaultInjector
from echod.faults.settings import NO_FAULTS
from echod.gate.access import Access
from echod.gate.connections import ConnectionGate
from echod.gate.datagrams import DatagramGate
from echod.membership import Membership
from echod.model import Context, Service, Show
from echod.pages.pages import Pages
from echod.services.print_message import effective, printing
from echod.services.recording import Recorder, recording
from echod.transports.accept_backoff import SpareDescriptor


class ResourceRefused(Exception):
    """The kernel refused a resource that serving an address needs; the message names both, and the error."""


class UnusableService(Exception):
    """The constructor of a kind of service raised an exception; the message names the service and the exception."""


@dataclass
class DaemonContext:
    """The objects that all listeners of a daemon share."""

    reactor: Any
    events: Events
    context: Context
    admin: AdminService
    reserve: SpareDescriptor
    plane: Loop | None
    pipes_below: int
    state: SharedState
    own_ports: set[int]  #: the daemon's UDP ports; datagrams from them are dropped
    broadcasts: set[bytes]  #: the broadcast addresses of the interfaces
    all_counters: dict[tuple[str, str], Counters]  #: by the service's name and the address
    pages: Pages  #: for browsers at WebSocket addresses
    held: bool = False  #: this process holds the sockets of clients, and its workers serve them


def injects(config: ServiceConfig) -> bool:
    """Whether connections and datagrams of a service can have faults: those of its table, or of its clients' choice."""
    return config.faults is not None or config.kind.chooses_faults


class RunningService:
    """One service of the configuration, with the gates that all its addresses share.

    After a reload it replaces `predecessor`, a service of the same name and kind, and takes over its gates, so that
    open connections still count. The replacement happens in `begin`.
    Raises UnusableService.
    """

    def __init__(self, config: ServiceConfig, shared: DaemonContext, predecessor: RunningService | None = None) -> None:
        self.config = config
        self._predecessor = predecessor
        self._membership: Membership | None = None  # None: the admin interface
        self.service = self._make(shared)
        self.recorder = self._recorder_of(predecessor)
        #: The service that the transports call: `service`, or its wrappers that print and record messages.
        self.frontend = printing(recording(self.service, self.recorder), self.printing_of(config))
        self.injector = self._injector(shared)
        self._access = Access(config.allow, config.deny)
        self._larger_answers_to = Access(config.larger_answers_to)
        self._allow_source_ports = frozenset(config.allow_source_ports)
        if predecessor is not None:
            self.connections: ConnectionGate = predecessor.connections
            self.datagrams: DatagramGate = predecessor.datagrams
            return
        access, limits, state = self._access, config.limits, shared.state
        self.connections = state.connection_gate(config.name, access, limits)
        self.datagrams = state.datagram_gate(
            config.name, access, limits, own_ports=shared.own_ports, broadcasts=shared.broadcasts
        )
        self.datagrams.reconfigure(access, limits, self._larger_answers_to, self._allow_source_ports)

    def begin(self) -> None:
        """Replace the predecessor: apply the new lists and limits to the gates."""
        if self._predecessor is not None:
            limits = self.config.limits
            self.connections.reconfigure(self._access, limits)
            self.datagrams.reconfigure(self._access, limits, self._larger_answers_to, self._allow_source_ports)
            self.service.take_over_from(self._predecessor.service)
            self._take_over_faults(self._predecessor)
            self._predecessor = None
        if self.injector is not None:
            self.injector.begin()
        if isinstance(self.service, AdminService):
            self.service.options = self.config.options

    @property
    def is_wrapped(self) -> bool:
        """Whether the messages of clients are printed or recorded."""
        return self.frontend is not self.service

    def would_wrap(self, config: ServiceConfig) -> bool:
        """Whether the messages of clients are printed or recorded under a configuration."""
        return config.record is not None or self.printing_of(config) != "no"

    def printing_of(self, config: ServiceConfig) -> Show:
        """The effective value of `show` under a configuration."""
        return effective(config.show, config.kind, terminal=self.service.context.terminal)

    def _recorder_of(self, predecessor: RunningService | None) -> Recorder | None:
        """The recorder of the predecessor if it has the same limit, so that a reload loses nothing; or another one."""
        before = None if predecessor is None else predecessor.recorder
        if before is not None and before.limit == self.config.record:
            return before
        return None if self.config.record is None else Recorder(self.config.record)

    def end(self) -> None:
        """Stop the script of its faults: the daemon stops, or a reload has removed the service."""
        if self.injector is not None:
            self.injector.end()

    def _injector(self, shared: DaemonContext) -> FaultInjector | None:
        """The injector of its faults. A reload keeps it, with its counts."""
        config, before = self.config, self._predecessor
        if not injects(config):
            return None
        if before is not None and before.injector is not None:
            return before.injector
        return FaultInjector(
            config.name,
            config.faults or NO_FAULTS,
            shared.reactor.callLater,
            shared.state.fault_seed,
            shared.events.tell,
        )

    def _take_over_faults(self, before: RunningService) -> None:
        """Use the faults of the configuration, unless they are those of the predecessor: then the pattern continues."""
        if before.injector is None:
            return
        if self.injector is None:
            before.injector.change(NO_FAULTS)
        elif self.config.faults != before.config.faults:
            self.injector.change(self.config.faults or NO_FAULTS)

    def is_like(self, other: ServiceConfig) -> bool:
        """Whether only the addresses differ."""
        return replace(self.config, listen=()) == replace(other, listen=())

    def _make(self, shared: DaemonContext) -> Service:
        config = self.config
        if config.kind is AdminService:
            if self._predecessor is None:
                shared.admin.options = config.options
            return shared.admin
        try:
            watermark = shared.state.send_budget.mark(config.limits.total_buffer)
            context = replace(shared.context, send_budget=watermark)
            before = self._predecessor
            self._membership = before._membership if before else shared.state.membership(config.name, context)
            return config.kind(config.options, replace(context, membership=self._membership))
        except Exception as error:  # from another package's code, or a file was removed since the check
            why = f"{type(error).__name__}: {error}"
            raise UnusableService(f"services.{config.name}: kind {config.kind.kind} cannot start: {why}") from error
