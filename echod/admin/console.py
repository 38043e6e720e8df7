"""The seats of a console service as resources: an endless stream of what happens, and answers."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from echod.admin.messages import Answer, Handler, Request, Respond, fault, of_json

CONSOLE: Final = "/api/console/"
EVENTS: Final = "application/x-ndjson"

_RIGHT: Final = '{"to": 3, "text": "hello"}, where "to" may be null for the client that spoke last'


class Desk(Protocol):
    """Where operators sit, and clients are answered."""

    def sit(self, hear: Callable[[Mapping[str, Any]], None], dismissed: Callable[[], None]) -> int:
        """Sit down; returns the operator's number. `dismissed` is called where the desk goes away."""

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
    """The feed of one operator: a line of JSON for each event."""

    def __init__(self, desk: Desk, wake: Callable[[], None], end: Callable[[], None]) -> None:
        self._desk = desk
        self._wake = wake
        self._lines: deque[bytes] = deque()
        self._number = desk.sit(self._hear, end)

    def pieces(self) -> Iterator[bytes]:
        """As Feed."""
        while self._lines:
            yield self._lines.popleft()

    def close(self) -> None:
        """As Feed."""
        self._desk.rise(self._number)

    def _hear(self, event: Mapping[str, Any]) -> None:
        self._lines.append(json.dumps(event).encode() + b"\n")
        self._wake()


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
