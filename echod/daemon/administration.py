"""What the administrator's interface sees of the daemon, and the service that it is among the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final, Protocol

from echod.admin.console import Desk
from echod.admin.resources import Verdict
from echod.admin.service import AT_ONCE, AdminService
from echod.config.schema import Configuration, ServiceConfig
from echod.daemon.console import desk_of
from echod.daemon.listener import Listener, Shared
from echod.daemon.reloading import Reloads
from echod.events import Events, Tally
from echod.gate.limits import UNLIMITED, Limits
from echod.model import Context
from echod.observe.log import Log
from echod.observe.metrics import Figures, ProcessFigures
from echod.observe.output import Output
from echod.version import VERSION

LIMITS: Final = Limits(connections=2 * AT_ONCE, per_client=2 * AT_ONCE, new_per_client=UNLIMITED, idle=0.0, stall=10.0)
"""The interface has times of its own for what comes, so `idle` has none; who takes nothing of an answer is reset."""


def services_of(configuration: Configuration) -> tuple[ServiceConfig, ...]:
    """The services to serve, the administrator's interface among them where it has an address."""
    admin = configuration.admin
    if not admin.listen:
        return configuration.services
    ours = ServiceConfig("admin", AdminService, None, admin.listen, allow=admin.allow, limits=LIMITS)
    return (*configuration.services, ours)


class Watched(Protocol):
    """What a view needs of the daemon."""

    configuration: Configuration
    events: Events
    leaving: Iterable[Listener]
    listeners: list[Listener]
    log: Log
    outputs: list[Output]
    reloads: Reloads
    serving: bool
    shared: Shared

    @property
    def running(self) -> Any:
        """Whether it has started, and not begun to stop."""

    def reload(self, done: Callable[[Verdict], None], by: str) -> None:
        """Read the configuration anew."""

    def settle(self) -> None:
        """Bring what open connections have counted for themselves into the tallies."""


class DaemonView:
    """A View of a daemon."""

    def __init__(self, daemon: Watched, context: Context) -> None:
        self._daemon = daemon
        self._clock = context.clock
        self._began = context.clock()
        self._started = context.wall_clock()
        self._figures = Figures(self._tallies, self._process)

    def unready(self) -> str | None:
        """As View."""
        if self._daemon.serving:
            return None
        return "starting" if self._daemon.running else "stopping"

    def metrics(self) -> Figures:
        """As View."""
        self._daemon.settle()
        return self._figures

    def reload(self, done: Callable[[Verdict], None]) -> None:
        """As View."""
        self._daemon.reload(done, by="the administrator")

    def desk(self, name: str) -> Desk | None:
        """As View."""
        return desk_of(self._daemon.listeners, name)

    def connections(self, most: int) -> list[dict[str, Any]]:
        """As View; the administrator's own are left out."""
        listeners = chain(self._daemon.listeners, self._daemon.leaving)
        found = (one for listener in listeners if not listener.is_admin for one in listener.connections())
        return list(islice(found, most))

    def status(self) -> dict[str, Any]:
        """As View."""
        daemon = self._daemon
        self._daemon.settle()
        services: dict[str, dict[str, Any]] = {}
        for listener in daemon.listeners:
            if listener.is_admin:
                continue
            config = listener.served.config
            service = services.setdefault(config.name, {"name": config.name, "kind": config.kind.kind, "listeners": []})
            service["listeners"].append({"address": listener.place, **_told(listener.tally)})
        return {
            "version": VERSION,
            "pid": os.getpid(),
            "started": round(self._started, 3),
            "uptime": round(self._clock() - self._began, 3),
            "ready": daemon.serving,
            "plane": daemon.shared.plane is not None,
            "files": [str(path) for path in daemon.configuration.sources],
            "services": list(services.values()),
            "lines_lost": sum(output.lost for output in daemon.outputs),
            "lines_suppressed": daemon.log.suppressed,
            "events_lost": daemon.events.failures,
            "internal_errors": daemon.log.internal_errors,
            "unsent": daemon.shared.send_budget.octets,
            "reloads": daemon.reloads.counts,
            "last_reload": daemon.reloads.last.as_json() if daemon.reloads.last else None,
        }

    def _tallies(self) -> Iterator[tuple[str, str, Tally]]:
        for (name, place), tally in self._daemon.shared.tallies.items():
            yield name, place, tally

    def _process(self) -> ProcessFigures:
        daemon = self._daemon
        return ProcessFigures(
            started=self._started,
            ready=daemon.serving,
            lines_lost=sum(output.lost for output in daemon.outputs),
            lines_suppressed=daemon.log.suppressed,
            events_lost=daemon.events.failures,
            internal_errors=daemon.log.internal_errors,
            unsent=daemon.shared.send_budget.octets,
            reloads=daemon.reloads.counts,
            last_reload_took=daemon.reloads.last is None or not daemon.reloads.last.errors,
        )


def _told(tally: Tally) -> dict[str, Any]:
    """A tally as /api/status shows it: every counter, also at 0."""
    told: dict[str, Any] = {name: getattr(tally, name) for name in Tally.__slots__ if name not in ("refused", "closed")}
    told["refused"] = {str(reason): count for reason, count in tally.refused.items()}
    told["closed"] = {str(reason): count for reason, count in tally.closed.items()}
    return told
