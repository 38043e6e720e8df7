"""The resources of the admin interface, from a view of the daemon."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Final, Protocol

from echod.admin.event_stream import EVENTS, event_handlers
from echod.admin.fault_resource import FAULTS, ServiceFaults, fault_handlers
from echod.admin.largest_connections import ORDERS
from echod.admin.live_status import LiveStatus
from echod.admin.operator_sessions import CONSOLE, ConsoleService, handlers_of
from echod.admin.received_messages import RECEIVED, received_handlers
from echod.escaping import clipped
from echod.http.messages import (
    TEXT,
    Answer,
    Handler,
    Request,
    Respond,
    error_answer,
    list_of_json,
    object_of_json,
    of_json,
)
from echod.model import Context
from echod.pages.negotiation import prefers_html
from echod.pages.status_page import HTML, StatusPage
from echod.services.recording import Recorder
from echod.telemetry.metrics import exposition
from echod.telemetry.recent_events import RecentEvents

MOST_LISTED: Final = 1_000  #: connections in one response, unless ?limit= is given
MOST_ASKED: Final = 10_000  #: maximum of ?limit=: a list of this length takes about 50 ms


@dataclass(frozen=True)
class ReloadResult:
    """The result of a reload: its changes, or every error. After an error nothing has changed."""

    errors: tuple[str, ...] = ()
    opened: int = 0  #: addresses
    closed: int = 0
    changed: int = 0  #: services with changed options, limits or lists
    changes: tuple[str, ...] = ()  #: each of these: `+ echo tcp://*:7`, `- …`, `~ echo`, `~ [daemon]`
    notes: tuple[str, ...] = ()  #: warnings for the administrator, as at a start

    def as_json(self) -> dict[str, Any]:
        """The response of /api/reload."""
        if self.errors:
            return {"reloaded": False, "errors": list(self.errors)}
        counts: dict[str, Any] = {"opened": self.opened, "closed": self.closed, "changed": self.changed}
        return {"reloaded": True, **counts, "changes": list(self.changes), "notes": list(self.notes)}


class View(Protocol):
    """The daemon, as the admin interface sees it."""

    context: Context  #: event streams count in its send budget
    recent: RecentEvents

    def unready(self) -> str | None:
        """Why the daemon is not ready, or None."""

    def awaited(self) -> list[dict[str, str]]:
        """The addresses that do not exist yet: service, address and error of each."""

    def gather(self, connections: int, done: Callable[[], None], order: str = "") -> None:
        """Get the counters of worker processes, and at most this many connections of each; then call `done`.

        With an `order`, they are the largest ones, as of `connections`.
        """

    def flush_counters(self) -> Iterator[None]:
        """Add the byte counts of open connections to the counters, in steps. Exhaust it, then read the counters."""

    def status(self) -> Mapping[str, Any]:
        """The data of `echoctl status`; a value that is an iterator is a list, built item by item."""

    def connections(self, most: int, order: str = "") -> Iterator[dict[str, Any] | None]:
        """At most `most` open connections. Connections may open and close between two items.

        With an `order` of `largest_connections.ORDERS`, the largest ones, after None for each step of the search.
        """

    def metrics(self) -> Any:
        """The collector of every metric."""

    def reload(self, done: Callable[[ReloadResult], None]) -> None:
        """Reload the configuration, and call `done` with the result."""

    def has_service(self, name: str) -> bool:
        """Whether the configuration in force has a service of this name, or this is the admin interface."""

    def faults(self, name: str) -> ServiceFaults | None:
        """The faults of the service of this name, or None."""

    def recorder(self, name: str) -> Recorder | None:
        """The recording of the service of this name, or None."""

    def console(self, name: str) -> ConsoleService | None:
        """The console service of this name, or None."""


class DaemonResources:
    """The resources of a daemon."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._known: dict[str, Mapping[str, Handler]] = {
            "/": {"GET": self._root},
            "/healthz": {"GET": self._healthz},
            "/readyz": {"GET": self._readyz},
            "/metrics": {"GET": self._metrics},
            "/api/status": {"GET": self._status},
            "/api/connections": {"GET": self._connections},
            EVENTS: event_handlers(view.recent, view.context, LiveStatus(view, view.context), view.has_service),
            "/api/reload": {"POST": self._reload},
        }

    def find(self, path: str) -> Mapping[str, Handler] | None:
        """As Resources."""
        if path.startswith(CONSOLE):
            return handlers_of(self._view.console(path.removeprefix(CONSOLE)))
        if path.startswith(FAULTS):
            return fault_handlers(self._view.faults(path.removeprefix(FAULTS)))
        if path.startswith(RECEIVED):
            return received_handlers(self._view.recorder(path.removeprefix(RECEIVED)))
        return self._known.get(path)

    def paths(self) -> Iterator[str]:
        """As Resources."""
        return iter((*self._known, f"{CONSOLE}NAME", f"{FAULTS}NAME", f"{RECEIVED}NAME"))

    def only_reads(self, path: str) -> bool:
        """As Resources: False for console sessions, which are for operators, and for recorded messages."""
        return not path.startswith((CONSOLE, RECEIVED))

    @cached_property
    def _page(self) -> StatusPage:
        """The status page, made at the first request: worker processes do not need it."""
        return StatusPage()

    def _root(self, request: Request, respond: Respond) -> None:
        if prefers_html(request.headers.get("accept", "")):
            body, headers = self._page.answer(request.headers.get("accept-language", ""), request.raw_query)
            respond(Answer(200, body, HTML, headers))
            return
        named = {CONSOLE: ("GET", "POST"), FAULTS: ("GET", "POST"), RECEIVED: ("GET", "DELETE")}
        known = {**self._known, **{f"{path}NAME": methods for path, methods in named.items()}}
        lines = "".join(f"{', '.join(methods)} {path}\n" for path, methods in known.items())
        respond(Answer(200, f"echod\n\n{lines}".encode(), TEXT, (("vary", "Accept, Accept-Language"),)))

    def _healthz(self, _request: Request, respond: Respond) -> None:
        respond(Answer(200, b"ok\n", TEXT))

    def _readyz(self, _request: Request, respond: Respond) -> None:
        why = self._view.unready()
        awaited = "".join(f"waiting for {one['address']}: {one['error']}\n" for one in self._view.awaited())
        respond(Answer(503, f"{why}\n".encode(), TEXT) if why else Answer(200, f"ready\n{awaited}".encode(), TEXT))

    def _metrics(self, request: Request, respond: Respond) -> None:
        def gathered() -> None:
            body, content_type = exposition(self._view.metrics(), request.headers.get("accept", ""))
            respond(Answer(200, self._settled(body), content_type))

        self._view.gather(0, gathered)

    def _status(self, _request: Request, respond: Respond) -> None:
        def body() -> Iterator[bytes]:
            yield from object_of_json(self._view.status())

        self._view.gather(0, lambda: respond(Answer(200, self._settled(body()))))

    def _settled(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces of a body; the first is built when every counter is exact."""
        for _ in self._view.flush_counters():
            yield b""
        yield from body

    def _connections(self, request: Request, respond: Respond) -> None:
        written = request.query.get("limit", str(MOST_LISTED))
        limit = int(written) if re.fullmatch("[0-9]{1,9}", written) else 0
        if not 1 <= limit <= MOST_ASKED:
            respond(
                error_answer(
                    400, f"limit={clipped(written)} is not valid: expected a whole number from 1 to {MOST_ASKED}"
                )
            )
            return

        order = request.query.get("sort", "")
        if order and order not in ORDERS:
            right = f"expected one of: {', '.join(ORDERS)}"
            respond(error_answer(400, f"sort={clipped(order)} is not valid: {right}"))
            return

        def gathered() -> None:
            respond(Answer(200, chain(_after_steps(self._view.connections(limit, order)), (b"\n",))))

        self._view.gather(limit, gathered, order)

    def _reload(self, _request: Request, respond: Respond) -> None:
        def done(result: ReloadResult) -> None:
            respond(of_json(result.as_json(), 422 if result.errors else 200))

        self._view.reload(done)


def _after_steps(items: Iterator[Any]) -> Iterator[bytes]:
    """A JSON list of the items, after an empty piece for each None before them."""
    for one in items:
        if one is not None:
            yield from list_of_json(chain((one,), items))
            return
        yield b""
    yield b"[]"
