"""The view of the daemon that the admin interface shows, and the configuration of the admin interface as a service."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, Final, Protocol

from echod.admin.access_control import AdminOptions, AdminService
from echod.admin.largest_connections import Worth, largest
from echod.admin.operator_sessions import ConsoleService
from echod.admin.resources import DaemonResources, ReloadResult
from echod.config.settings import Configuration, ServiceConfig
from echod.daemon.awaited_addresses import AwaitedAddresses
from echod.daemon.certificate_watch import described, served_by
from echod.daemon.daemon_figures import figures_of_all, flush_counters_in_steps
from echod.daemon.fault_control import FaultControl
from echod.daemon.listener import Listener
from echod.daemon.local_console import console_service
from echod.daemon.refusal_settings import settings_of
from echod.daemon.reloader import Reloader
from echod.daemon.running_service import DaemonContext
from echod.daemon.worker_pool_interface import DaemonBus, WorkerPool
from echod.events import BY_REASON, Counters, Events
from echod.faults.parsing import described as faults_described
from echod.gate.admin_limits import MOST, admin_limits
from echod.gate.limits import UNLIMITED, Limits
from echod.model import Context
from echod.services.recording import Recorder
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.log import Log
from echod.telemetry.metrics import MetricsCollector, ProcessMetrics
from echod.telemetry.recent_events import RecentEvents
from echod.version import VERSION

LIMITS: Final = Limits(
    connections=MOST.connections,
    per_client=MOST.connections,
    new_per_client=UNLIMITED,
    idle=0.0,
    stall=10.0,
    buffer=16_384,
)
"""The limits of each listener. The service itself limits its connections and the size of requests, so `idle` is off. A
client that reads nothing of a response for `stall` is reset. A response is produced piece by piece, so at most `buffer`
bytes of it are pending."""


def services_of(configuration: Configuration) -> tuple[ServiceConfig, ...]:
    """The services of a configuration, and the admin interface if it has an address."""
    admin = configuration.admin
    if not admin.listen:
        return configuration.services
    options = AdminOptions(admin.hosts, admin.group, admin.gid)
    ours = ServiceConfig(
        "admin", AdminService, options, admin.listen, allow=admin.allow, deny=admin.deny, limits=LIMITS
    )
    return (*configuration.services, ours)


def admin_service(view: DaemonView, context: Context) -> AdminService:
    """The admin interface of a daemon, with the limits that the limit of open files permits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return AdminService(DaemonResources(view), context, admin_limits(hard))


class ViewedDaemon(Protocol):
    """The part of the daemon that a view uses."""

    awaited: AwaitedAddresses
    bus: DaemonBus | None
    events: Events
    leaving: Iterable[Listener]
    log: Log
    outputs: list[BackgroundWriter]
    reloads: Reloader
    serving: bool
    workers: WorkerPool | None

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""

    @property
    def shared(self) -> DaemonContext:
        """The objects that all listeners share."""

    @property
    def listeners(self) -> list[Listener]:
        """The listeners that accept."""

    @property
    def running(self) -> Any:
        """Whether the daemon has started and is not stopping."""

    def reload(self, done: Callable[[ReloadResult], None], by: str) -> None:
        """Read the configuration again."""


class DaemonView:
    """A View of a daemon."""

    def __init__(self, daemon: ViewedDaemon, context: Context) -> None:
        self._daemon = daemon
        self._clock = context.clock
        self._began = context.clock()
        self._started = context.wall_clock()
        self._wall_clock = context.wall_clock
        self.context = context
        self.recent = RecentEvents(self.watch_connections, context.clock)
        daemon.events.subscribe(self.recent.event)
        self._figures = MetricsCollector(self._all_counters, self._process, self._expiries)

    def unready(self) -> str | None:
        """As View."""
        if self._daemon.serving:
            return None
        return "starting" if self._daemon.running else "stopping"

    def awaited(self) -> list[dict[str, str]]:
        """As View."""
        return [one.as_fields() for one in self._daemon.awaited]

    def metrics(self) -> MetricsCollector:
        """As View."""
        return self._figures

    def watch_connections(self, on: bool) -> None:
        """Publish events of single connections to event streams, or end that."""
        self._daemon.events.subscribe(self.recent.event, connections=on)
        if self._daemon.workers is not None:
            self._daemon.workers.watch_connections(on)

    def gather(self, connections: int, done: Callable[[], None], order: str = "") -> None:
        """As View."""
        if self._daemon.workers is None:
            done()
        else:
            self._daemon.workers.collect(connections, order).addCallback(lambda _: done())

    def flush_counters(self) -> Iterator[None]:
        """As View."""
        return flush_counters_in_steps(self._daemon)

    def reload(self, done: Callable[[ReloadResult], None]) -> None:
        """As View."""
        self._daemon.reload(done, by="the administrator")

    def has_service(self, name: str) -> bool:
        """As View."""
        return any(one.name == name for one in services_of(self._daemon.configuration))

    def faults(self, name: str) -> FaultControl | None:
        """As View."""
        known = any(one.name == name for one in self._daemon.configuration.services)
        return FaultControl(self._daemon, name) if known else None

    def console(self, name: str) -> ConsoleService | None:
        """As View."""
        return console_service(self._daemon.listeners, name)

    def recorder(self, name: str) -> Recorder | None:
        """As View."""
        return next((one.running.recorder for one in self._daemon.listeners if one.name == name), None)

    def connections(self, most: int, order: str = "") -> Iterator[dict[str, Any] | None]:
        """As View; those of the admin interface are left out."""
        workers = self._daemon.workers
        if workers is not None:
            return largest(lambda _: workers.listed(), most, order) if order else islice(workers.listed(), most)
        return largest(self._described, most, order) if order else islice(self._described(), most)

    def _described(self, worth: Worth | None = None) -> Iterator[dict[str, Any] | None]:
        listeners = (*self._daemon.listeners, *self._daemon.leaving)
        return chain.from_iterable(one.connections(worth) for one in listeners if not one.is_admin)

    def status(self) -> Mapping[str, Any]:
        """As View."""
        daemon, figures = self._daemon, figures_of_all(self._daemon)
        workers = {} if daemon.workers is None else {"workers": daemon.workers.status()}
        return {
            "version": VERSION,
            "python": platform.python_version(),
            "pid": os.getpid(),
            "started": round(self._started, 3),
            "uptime": round(self._clock() - self._began, 3),
            "ready": daemon.serving,
            "plane": figures["plane"] > 0,
            "native": figures["native"] > 0,
            **workers,
            "files": [str(path) for path in daemon.configuration.sources],
            **({} if daemon.bus is None else {"bus": daemon.bus.status()}),
            "awaited": self.awaited(),
            "services": self._services(),
            "lines_lost": figures["lines_lost"],
            "lines_suppressed": figures["lines_suppressed"],
            "events_lost": figures["events_lost"],
            "internal_errors": figures["internal_errors"],
            "unsent": figures["unsent"],
            "missed": figures["missed"],
            "readers_ended": figures["readers_ended"],
            "reloads": daemon.reloads.counts,
            "last_reload": daemon.reloads.last.as_json() if daemon.reloads.last else None,
        }

    def _services(self) -> Iterator[dict[str, Any]]:
        """Each service with its listeners."""
        certificates: dict[str, list[dict[str, Any]]] = {}
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        for certificate in served_by(self._daemon.configuration):
            certificates.setdefault(certificate.service, []).append(described(certificate, now))
        by_name: dict[str, list[Listener]] = {}
        for one in self._daemon.listeners:
            if not one.is_admin:
                by_name.setdefault(one.name, []).append(one)
        for name, ours in by_name.items():
            fields = [{"address": one.label, **_proxy(one), **_counter_fields(one.counters)} for one in ours]
            config = ours[0].running.config
            refused = dict.fromkeys(reason for one in ours for reason in one.counters.refused)
            service: dict[str, Any] = {
                "name": name,
                "kind": config.kind.kind,
                "listeners": fields,
                "limits": {"connections": config.limits.connections, "total-buffer": config.limits.total_buffer},
                "refusals": settings_of(config, refused, self._daemon.configuration.origins),
            }
            if (injector := ours[0].running.injector) is not None:
                service["faults"] = faults_described(injector.faults)
            yield {**service, "certificates": certificates[name]} if name in certificates else service

    def _all_counters(self) -> Iterator[tuple[str, str, Counters]]:
        for (name, label), counters in self._daemon.shared.all_counters.items():
            yield name, label, counters

    def _expiries(self) -> Iterator[tuple[str, str, str, float]]:
        for one in served_by(self._daemon.configuration):
            if one.on_purpose:  # an alert about its expiry would be false
                continue
            name = one.facts.names[0] if one.facts.names else one.facts.subject
            yield one.service, one.source, name, one.facts.until.timestamp()

    def _process(self) -> ProcessMetrics:
        daemon, figures = self._daemon, figures_of_all(self._daemon)
        return ProcessMetrics(
            started=self._started,
            ready=daemon.serving,
            lines_lost=figures["lines_lost"],
            lines_suppressed=figures["lines_suppressed"],
            events_lost=figures["events_lost"],
            internal_errors=figures["internal_errors"],
            unsent=figures["unsent"],
            missed=figures["missed"],
            readers_ended=figures["readers_ended"],
            workers=sum(one["serving"] for one in daemon.workers.status()) if daemon.workers is not None else 0,
            workers_ended=figures["workers_ended"],
            bus=None if daemon.bus is None else daemon.bus.status(),
            reloads=daemon.reloads.counts,
            last_reload_took=daemon.reloads.last is None or not daemon.reloads.last.errors,
        )


def _proxy(listener: Listener) -> dict[str, Any]:
    """The version of the PROXY headers that clients of a listener must send; nothing without them."""
    proxy = listener.bound.address.options.get("proxy")
    return {} if proxy is None else {"proxy": proxy}


def _counter_fields(counters: Counters) -> dict[str, Any]:
    """The counters as /api/status shows it: every counter, also at 0."""
    fields: dict[str, Any] = {name: getattr(counters, name) for name in Counters.__slots__ if name not in BY_REASON}
    fields["refused"] = {str(reason): count for reason, count in counters.refused.items()}
    fields["faults"] = dict(counters.faults)
    fields["closed"] = {str(reason): count for reason, count in counters.closed.items()}
    return fields
