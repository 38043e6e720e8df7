"""The operators' sessions of a console service as resources: an endless stream of events, and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from echod.http.messages import Answer, Handler, Request, Respond, error_answer, of_json
from echod.membership import OperatorEvent, OperatorQueue, Unanswerable
from echod.model import Context
from echod.services.outbox import Outbox

CONSOLE: Final = "/api/console/"
EVENTS: Final = "application/x-ndjson"

_RIGHT: Final = '{"to": 3, "text": "hello"}, where "to" may be null for the client of the most recent message'


class ConsoleService(Protocol):
    """A console service."""

    context: Context  #: the outboxes of its operators count in its send budget
    queue: OperatorQueue


def handlers_of(console: ConsoleService | None) -> Mapping[str, Handler] | None:
    """The handlers of a console service, or None without one."""
    if console is None:
        return None

    def sit(request: Request, respond: Respond) -> None:
        if not request.peer.is_unix:  # messages of clients are private to the operators, and an operator also answers
            respond(error_answer(403, "a console session is available only over the Unix socket"))
            return

        def attach(wake: Callable[[], None], end: Callable[[], None]) -> OperatorStream:
            return OperatorStream(console, wake, end)

        respond(Answer(200, content_type=EVENTS, stream=attach))

    def answer(request: Request, respond: Respond) -> None:
        try:
            to, text, operator = _parsed(request.body)
        except (ValueError, RecursionError):  # deeply nested brackets
            respond(error_answer(400, f"an answer is JSON such as {_RIGHT}"))
            return

        def answered(result: int | Unanswerable) -> None:
            respond(of_json({"to": result}) if isinstance(result, int) else error_answer(409, str(result)))

        console.queue.answer(to, text, operator, answered)

    return {"GET": sit, "POST": answer}


class OperatorStream:
    """The feed of one operator: a line of JSON for each event, from a bounded outbox.

    It begins with the messages that wait. An operator that reads too slowly gets an event `missed`. If it does not
    catch up, its response is ended.
    """

    def __init__(self, console: ConsoleService, wake: Callable[[], None], end: Callable[[], None]) -> None:
        self._wake = wake
        self._end = end
        self._outbox = Outbox(console.context, _missed, self._stay_behind, joined=True)
        self._is_behind = False
        self._pulled = False  # whether `pieces` was called before the queue replied
        self._waiting: Iterator[OperatorEvent] = iter(())
        self._operator = console.queue.add_operator(self._begin, self._hear, end)

    def pieces(self) -> Iterator[bytes]:
        """As Feed."""
        self._pulled = True
        for event in self._waiting:
            yield event.line
        yield from self._outbox.pieces()
        if self._is_behind:
            yield json.dumps({"event": "ended", "reason": "you read too slowly"}).encode() + b"\n"

    def close(self) -> None:
        """As Feed."""
        self._operator.leave()
        self._outbox.close()

    def _begin(self, _number: int, waiting: Iterator[OperatorEvent]) -> None:
        self._waiting = waiting
        if self._pulled:
            self._wake()

    def _hear(self, event: OperatorEvent) -> None:
        self._outbox.put(event.line)
        self._wake()

    def _stay_behind(self) -> None:
        self._is_behind = True
        self._operator.leave()
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
