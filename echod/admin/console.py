"""The seats of a console service as resources: an endless stream of what happens, and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from echod.admin.messages import Answer, Handler, Request, Respond, fault, of_json
from echod.model import Context
from echod.services.outbox import Outbox

CONSOLE: Final = "/api/console/"
EVENTS: Final = "application/x-ndjson"

_RIGHT: Final = '{"to": 3, "text": "hello"}, where "to" may be null for the client that spoke last'


class Event(Protocol):
    """Something that operators are told."""

    @property
    def line(self) -> bytes:
        """The event as one line of JSON."""


class Desk(Protocol):
    """Where operators sit, and clients are answered."""

    context: Context  #: whose send budget the outboxes of its operators count in

    def sit(self, hear: Callable[[Any], None], dismissed: Callable[[], None]) -> tuple[int, Iterator[Event]]:
        """Add an operator; returns its number, and what waits. `dismissed` is called when the desk is removed."""

    def rise(self, operator: int) -> None:
        """Leave."""

    def answer(self, to: int | None, text: str, operator: int | None = None) -> int:
        """Answer a client; returns its number. Raises ValueError."""


def seats(desk: Desk | None) -> Mapping[str, Handler] | None:
    """The handlers of a desk, or None where there is none."""
    if desk is None:
        return None

    def sit(request: Request, respond: Respond) -> None:
        if not request.peer.is_unix:  # what clients say is theirs and the operators', and a seat is no reading
            respond(fault(403, "an operator sits at the Unix socket only"))
            return

        def attach(wake: Callable[[], None], end: Callable[[], None]) -> Seat:
            return Seat(desk, wake, end)

        respond(Answer(200, content_type=EVENTS, stream=attach))

    def answer(request: Request, respond: Respond) -> None:
        try:
            to, text, operator = _asked(request.body)
        except (ValueError, RecursionError):  # a body of nothing but brackets
            respond(fault(400, f"an answer is JSON such as {_RIGHT}"))
            return
        try:
            respond(of_json({"to": desk.answer(to, text, operator)}))
        except ValueError as why:
            respond(fault(409, str(why)))

    return {"GET": sit, "POST": answer}


class Seat:
    """The feed of one operator: a line of JSON for each event, from a bounded outbox.

    It begins with what waits at the desk. An operator that reads too slowly is sent an event `missed`, and one that
    stays behind is ended.
    """

    def __init__(self, desk: Desk, wake: Callable[[], None], end: Callable[[], None]) -> None:
        self._desk = desk
        self._wake = wake
        self._end = end
        self._outbox = Outbox(desk.context, _missed, self._stay_behind, joined=True)
        self._is_behind = False
        self._number, self._waiting = desk.sit(self._hear, end)

    def pieces(self) -> Iterator[bytes]:
        """As Feed."""
        for event in self._waiting:
            yield event.line
        yield from self._outbox.pieces()
        if self._is_behind:
            yield json.dumps({"event": "ended", "reason": "you read too slowly"}).encode() + b"\n"

    def close(self) -> None:
        """As Feed."""
        self._desk.rise(self._number)
        self._outbox.close()

    def _hear(self, event: Event) -> None:
        self._outbox.put(event.line)
        self._wake()

    def _stay_behind(self) -> None:
        self._is_behind = True
        self._desk.rise(self._number)
        self._end()


def _missed(count: int) -> bytes:
    return json.dumps({"event": "missed", "events": count}).encode() + b"\n"


def _asked(body: bytes) -> tuple[int | None, str, int | None]:
    """Whom to answer what, and who says so. Raises ValueError."""
    asked = json.loads(body)
    if not isinstance(asked, dict):
        raise ValueError
    to, text, operator = asked.get("to"), asked.get("text"), asked.get("operator")
    numbers = all(one is None or (isinstance(one, int) and not isinstance(one, bool)) for one in (to, operator))
    if not (numbers and isinstance(text, str) and asked.keys() <= {"to", "text", "operator"}):
        raise ValueError
    return to, text, operator
