"""The events as a resource: a stream of server-sent events (the section of that name in the HTML standard)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import parse_qs

from echod.admin.live_status import LiveStatus
from echod.escaping import clipped
from echod.event_catalogue import Severity, matching
from echod.http.messages import Answer, Handler, Request, Respond, error_answer
from echod.model import Context
from echod.services.outbox import PIECE, Outbox
from echod.telemetry.recent_events import KeptEvent, RecentEvents, Selection

EVENTS: Final = "/api/events"
CONTENT_TYPE: Final = "text/event-stream"
UNBUFFERED: Final = ("x-accel-buffering", "no")  #: for nginx, which otherwise holds a response back
WATCHERS: Final = 8
"""Streams with events of single connections. Each of 3,000 events a second costs some microseconds in every stream."""
SEARCH: Final = 64  #: units of the work budget for the selection of the kept events: about 0.1 ms
NAMES: Final = 32  #: patterns of names in one request: each takes up to 0.3 ms
KEYS: Final = ("name", "service", "severity", "since", "follow", "status")


class EventStream:
    """The feed of one client: the kept events of its selection, then new ones.

    An outbox bounds its memory. In the place of events that are dropped for a slow client, it gets their number. With
    `live`, it also has the status of the daemon.
    """

    def __init__(
        self,
        recent: RecentEvents,
        context: Context,
        selection: Selection,
        kept: list[KeptEvent],
        wake: Callable[[], None],
        end: Callable[[], None],
        *,
        follow: bool,
        live: LiveStatus | None = None,
    ) -> None:
        self._recent = recent
        self._wake = wake
        self._end = end
        self._kept = iter(kept)
        self._follow = follow
        self._outbox = Outbox(context, _dropped, self._stay_behind, joined=True)
        self._status = live.follow(wake) if live is not None else None
        if follow:
            recent.follow(selection, self._put)
        else:
            end()

    def pieces(self) -> Iterator[bytes]:
        """As Feed."""
        yield from joined(map(encoded, self._kept))
        yield from self._outbox.pieces()
        while self._status is not None and (status := self._status.take()):
            yield status
            yield from self._outbox.pieces()  # events that were queued meanwhile woke nothing

    def close(self) -> None:
        """As Feed."""
        if self._status is not None:
            self._status.close()
        self._recent.unfollow(self._put)
        self._outbox.close()

    def _put(self, event: KeptEvent) -> None:
        self._outbox.put(encoded(event))
        self._wake()

    def _stay_behind(self) -> None:
        self._recent.unfollow(self._put)
        self._end()


def encoded(event: KeptEvent) -> bytes:
    """An event in the form of a stream: `id`, `data` and an empty line."""
    return b"id: %s\ndata: %s\n\n" % (event.identifier.encode(), event.data)


def joined(messages: Iterable[bytes]) -> Iterator[bytes]:
    """The messages in pieces of at least PIECE bytes, except the last one: each piece costs time of its own."""
    piece = bytearray()
    for message in messages:
        piece += message
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _dropped(count: int) -> bytes:
    return b"event: dropped\ndata: %s\n\n" % json.dumps({"dropped": count}).encode()


def event_handlers(
    recent: RecentEvents, context: Context, live: LiveStatus, has_service: Callable[[str], bool]
) -> Mapping[str, Handler]:
    """The handlers of the resource. `has_service` is whether the daemon has a service of a name."""

    def stream(request: Request, respond: Respond) -> None:
        try:
            selection, since, follow, with_status = wanted(request.raw_query)
        except ValueError as error:
            respond(error_answer(400, str(error)))
            return
        if selection.severity is Severity.DEBUG and not request.peer.is_unix:
            # Events of single connections cost their clients time: a reader over TCP must not cause that.
            respond(error_answer(403, "severity=debug is available only over the Unix socket"))
            return
        if selection.severity is Severity.DEBUG and follow and recent.watchers >= WATCHERS:
            respond(error_answer(503, f"{WATCHERS} streams of severity=debug are open already"))
            return
        context.work.spend(SEARCH)
        service = selection.service
        if service is not None and not has_service(service) and not recent.has_service(service):
            respond(error_answer(400, f"service={clipped(service)} is not a service of this daemon"))
            return
        kept = recent.select(selection, since, request.headers.get("last-event-id", ""))

        def attach(wake: Callable[[], None], end: Callable[[], None]) -> EventStream:
            status = live if with_status else None
            return EventStream(recent, context, selection, kept, wake, end, follow=follow, live=status)

        respond(Answer(200, content_type=CONTENT_TYPE, headers=(UNBUFFERED,), stream=attach))

    return {"GET": stream}


def wanted(query: str) -> tuple[Selection, float | None, bool, bool]:
    """The selection of a query, the age of the oldest event, whether to follow, and whether with the status.

    Raises ValueError.
    """
    given = parse_qs(query, keep_blank_values=True)
    for key, values in given.items():
        if key not in KEYS:
            raise ValueError(f"{clipped(key)} is not a parameter; the parameters are {', '.join(KEYS)}")
        if key != "name" and len(values) > 1:
            raise ValueError(f"{key} is given {len(values)} times: expected once")
    first = {key: values[0] for key, values in given.items()}
    if len(given.get("name", ())) > NAMES:
        raise ValueError(f"name is given {len(given['name'])} times: expected at most {NAMES}")
    names = matching(given["name"]) if "name" in given else None
    if names is not None and not names:
        raise ValueError(f"name={clipped(first['name'])} matches no event")
    severity = first.get("severity", "info")
    if severity not in list(Severity):
        raise ValueError(f"severity={clipped(severity)} is not valid: expected {', '.join(Severity)}")
    since = first.get("since")
    if since is not None and not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", since):
        raise ValueError(f"since={clipped(since)} is not valid: expected a number of seconds")
    follow, status = first.get("follow", "yes"), first.get("status", "no")
    for key, value in (("follow", follow), ("status", status)):
        if value not in ("yes", "no"):
            raise ValueError(f"{key}={clipped(value)} is not valid: expected yes or no")
    if status == "yes" and follow == "no":
        raise ValueError("status=yes needs a stream that follows")
    selection = Selection(names, first.get("service"), Severity(severity))
    return selection, None if since is None else float(since), follow == "yes", status == "yes"
