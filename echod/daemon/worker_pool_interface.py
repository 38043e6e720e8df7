"""The interface of the worker processes of a daemon. With them, the daemon holds the sockets and serves no client.

`echod.workers` implements it. A daemon without workers has no pool, and serves its sockets itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from echod.config.settings import Configuration
from echod.daemon.bind import BoundSocket
from echod.daemon.daemon_wide_state import SharedState


class WorkerPool(Protocol):
    """The workers of one daemon."""

    @property
    def connections(self) -> int:
        """The open connections of all workers."""

    def make_state(self, clock: Callable[[], float], tell: Callable[..., Any]) -> SharedState:
        """The state of the parent, as `daemon_wide_state.MakeState`."""

    def begin(self, daemon: Any, ready: Callable[[], None]) -> None:
        """Start the workers. `ready` is called once, when all of them serve."""

    def prepare(self, configuration: Configuration, bound: Iterable[BoundSocket]) -> Deferred[None]:
        """Let each worker build another configuration, with the sockets that were opened for it.

        The Deferred fails with ConfigurationRefused if a worker cannot serve it. Then no worker has changed.
        """

    def commit(self) -> None:
        """Let all workers serve what they have prepared."""

    def stop(self, seconds: float) -> Deferred[None]:
        """Drain all workers for at most `seconds`; fires when the last one has ended."""

    def abandon(self) -> None:
        """End the connections of all workers at once, if `stop` was called."""

    def watch_connections(self, on: bool) -> None:
        """Let all workers forward events of single connections, or end that."""

    def collect(self, connections: int, order: str = "") -> Deferred[None]:
        """Get exact counters, and at most this many connections, from each worker. It never fails.

        With an `order` of `echod.admin.largest_connections`, they are the largest ones.
        """

    def listed(self) -> Iterator[dict[str, Any]]:
        """The connections of the last `collect`, as the admin interface shows them."""

    def status(self) -> list[dict[str, Any]]:
        """Each worker, as the admin interface shows it."""

    def figures(self) -> Mapping[str, int]:
        """The sums of the workers' process counters, by name: `unsent`, `lines_lost` and so on."""


class DaemonBus(Protocol):
    """The bus that connects a daemon to others."""

    def status(self) -> Mapping[str, Any]:
        """Its state, as the admin interface shows it."""

    def end(self) -> Deferred[None]:
        """Leave the bus; fires when that is done, within a second or so."""
