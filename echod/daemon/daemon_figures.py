"""The counters and gauges of a whole daemon: this process, and its workers if it has some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

from echod.daemon.listener import Listener
from echod.daemon.running_service import DaemonContext
from echod.daemon.worker_pool_interface import WorkerPool
from echod.events import Events
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.log import Log

IN_THE_LAST_LINE: Final = ("internal_errors", "lines_suppressed", "missed", "readers_ended")
"""Figures of the event `daemon.stopped`, besides the counters."""


class CountingDaemon(Protocol):
    """The part of the daemon that has figures."""

    events: Events
    log: Log
    outputs: list[BackgroundWriter]
    workers: WorkerPool | None

    @property
    def shared(self) -> DaemonContext:
        """The objects that all listeners share."""

    @property
    def leaving(self) -> Iterable[Listener]:
        """The listeners that no longer accept, and still have connections."""

    @property
    def listeners(self) -> list[Listener]:
        """The listeners that accept."""


def counter_figures(daemon: CountingDaemon) -> Mapping[str, Mapping[str, int]]:
    """Every counter that is not 0, by service and address, including the bytes of open connections."""
    for _ in flush_counters_in_steps(daemon):
        pass
    return {f"{name} {label}": counters.figures() for (name, label), counters in daemon.shared.all_counters.items()}


def flush_counters_in_steps(daemon: CountingDaemon) -> Iterator[None]:
    """Add the byte counts of open connections to the counters, in steps that are short for any number of them."""
    for listener in (*daemon.listeners, *daemon.leaving):
        if listener.factory is not None:
            yield from listener.factory.flush_counters_in_steps()


def process_figures(daemon: CountingDaemon) -> Mapping[str, int]:
    """The counters and gauges of this process alone, by name. `plane` is whether the fast path runs, and
    `native` whether its native loop serves connections.
    """
    return {
        "plane": int(daemon.shared.plane is not None),
        "native": int(daemon.shared.plane is not None and daemon.shared.plane.is_native),
        "lines_lost": sum(output.lost for output in daemon.outputs),
        "lines_suppressed": daemon.log.suppressed,
        "events_lost": daemon.events.failures,
        "internal_errors": daemon.log.internal_errors,
    }


def figures_of_all(daemon: CountingDaemon) -> Counter[str]:
    """The counters and gauges of this process and of its workers."""
    budget = daemon.shared.state.send_budget  # of all processes
    figures = Counter(process_figures(daemon))
    figures.update({"unsent": budget.total, "missed": budget.missed, "readers_ended": budget.ended})
    if daemon.workers is not None:
        figures.update(daemon.workers.figures())
    return figures


def last_figures(daemon: CountingDaemon) -> Mapping[str, Mapping[str, int]]:
    """The counters of the event `daemon.stopped`: of each listener, and those of the daemon that are not 0."""
    figures = figures_of_all(daemon)
    ours = {name: figures[name] for name in IN_THE_LAST_LINE if figures[name]}
    return {**counter_figures(daemon), **({"daemon": ours} if ours else {})}
