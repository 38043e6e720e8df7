"""The operators' seats of a console service as resources: an endless stream of events, and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from echod.admin.messages import Answer, Handler, Request, Respond, fault, of_json
from echod.model import Context
from echod.services.outbox import Outbox

CONSOLE: Final = "/api/console/"
EVENTS: Final = "application/x-ndjson"

_RIGHT: Final = '{"to": 3, "text": "hello"}, where "to" may be null for the client of the most recent message'


class Event(Protocol):
    """An event for operators."""

    @property
    def line(self) -> bytes:
        """The event as one line of JSON."""


class Desk(Protocol):
    """The operators and clients of a console service."""

    context: Context  #: the outboxes of its operators count in its send budget

    def sit(self, hear: Callable[[Any], None], dismissed: Callable[[], None]) -> tuple[int, Iterator[Event]]:
        """Add an operator. Returns its number and the waiting events. `dismissed` is called if a reload removes it."""

    def rise(self, operator: int) -> None:
        """Remove an operator."""

    def answer(self, to: int | None, text: str, operator: int | None = None) -> int:
        """Answer a client; returns its number. Raises ValueError if that is not possible, with the reason."""


def seats(desk: Desk | None) -> Mapping[str, Handler] | None:
    """The handlers of a desk, or None without a desk."""
    if desk is None:
        return None

    def sit(request: Request, respond: Respond) -> None:
        if not request.peer.is_unix:  # messages of clients are private to the operators, and an operator also answers
            respond(fault(403, "a console seat is available only over the Unix socket"))
            return

        def attach(wake: Callable[[], None], end: Callable[[], None]) -> Seat:
            return Seat(desk, wake, end)

        respond(Answer(200, content_type=EVENTS, stream=attach))

    def answer(request: Request, respond: Respond) -> None:
        try:
            to, text, operator = _parsed(request.body)
        except (ValueError, RecursionError):  # deeply nested brackets
            respond(fault(400, f"an answer is JSON such as {_RIGHT}"))
            return
        try:
            respond(of_json({"to": desk.answer(to, text, operator)}))
        except ValueError as why:
            respond(fault(409, str(why)))

    return {"GET": sit, "POST": answer}


class Seat:
    """The feed of one operator: a line of JSON for each event, from a bounded outbox.

    It begins with the messages that wait. An operator that reads too slowly gets an event `missed`. If it does not
    catch up, its response is ended.
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


def _parsed(body: bytes) -> tuple[int | None, str, int | None]:
    """The client, the text and the operator of an answer. Raises ValueError if the body is not valid."""
    answer = json.loads(body)
    if not isinstance(answer, dict):
        raise ValueError
    to, text, operator = answer.get("to"), answer.get("text"), answer.get("operator")
    numbers = all(one is None or (isinstance(one, int) and not isinstance(one, bool)) for one in (to, operator))
    if not (numbers and isinstance(text, str) and answer.keys() <= {"to", "text", "operator"}):
        raise ValueError
    return to, text, operator
