"""`echoctl console`: an operator of a console service, over the admin interface of the running daemon."""

from __future__ import annotations

import argparse
import json
import queue
import threading
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import quote

from echod.address import Address
from echod.client.admin import LARGEST, Administrator, RequestRefused, Unanswered, find_admin, parsing_response
from echod.client.stdout import INTERRUPTED, fail, put_text, unreadable
from echod.escaping import counted, escaped
from echod.lineedit.interactive_input import InteractiveInput
from echod.lineedit.operator_dialogue import Answer, Leave, OperatorView


class Console:
    """Shows the events of the service, and sends the operator's answers.

    Two threads send requests to the admin interface: one reads the event stream, the other posts answers in order.
    """

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        self._reactor = reactor
        self._finish = finish
        self._name: str | None = arguments.name
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._operator: int | None = None
        self._unsent = 0  # lines meant for a client that were not delivered
        self._over = False
        self._as_json: bool = arguments.json_lines
        self._operating = OperatorView(self._show_for_people)
        self._typing = InteractiveInput(
            reactor,
            put_text,
            self._typed,
            self._depart,
            prompt=self._operating.prompt,
            begun=self._operating.typing,
            failed=lambda error: self._leave(1, unreadable(error)),
        )
        threading.Thread(target=self._sit, args=(arguments,), name="events", daemon=True).start()

    def interrupted(self) -> int:
        """Restore the terminal."""
        self._over = True
        self._typing.stop()
        return INTERRUPTED

    # in the reactor's thread

    def _show(self, line: str) -> None:
        self._typing.show(line)

    def _show_for_people(self, line: str) -> None:
        if not self._as_json:
            self._show(line)

    def _begin(self, address: Address, name: str) -> None:
        if not self._over:
            threading.Thread(target=self._send, args=(address, name), name="answers", daemon=True).start()
            self._show_for_people(f"-- you are an operator of {name}; /help lists the commands")

    def _hear(self, address: Address, event: Any) -> None:
        try:
            with parsing_response(address):
                if event.get("event") == "here":
                    self._operator = event["operator"]
                self._operating.event(event)
                if self._as_json:
                    self._show(json.dumps(event))
                if self._operator is not None:
                    self._typing.start()  # the clients are known now, so a line may name one
        except Unanswered as error:
            self._leave(1, str(error))

    def _typed(self, line: str) -> None:
        wanted = self._operating.typed(line)
        if isinstance(wanted, Leave):
            self._depart()
        elif wanted is not None:
            self._answers.put(wanted)
        elif (text := line.strip()) and (text.startswith("//") or not text.startswith("/")):
            self._unsent += 1

    def _not_sent(self, why: str) -> None:
        self._unsent += 1
        if self._as_json:
            fail(f"not sent: {why}")
        else:
            self._show(f"-- not sent: {why}")

    def _left(self) -> None:
        """Leave after the last answer. In a pipe, report undelivered lines: their errors were not read by a user."""
        count = 0 if self._typing.edits else self._unsent
        self._leave(1 if count else 0, f"{counted(count, 'line was', 'lines were')} not sent" if count else "")

    def _depart(self) -> None:
        """Leave after the last answer has been sent."""
        self._typing.stop()
        self._answers.put(None)

    def _leave(self, code: int, why: str = "") -> None:
        if not self._over:
            self._over = True
            self._typing.stop()
            if why:
                fail(why)
            self._finish(code)

    # in threads

    def _sit(self, arguments: argparse.Namespace) -> None:
        call = self._reactor.callFromThread
        try:
            address = find_admin(arguments)
            with Administrator(address) as administrator:
                name = self._name or _only(administrator)
            with Administrator(address) as administrator:
                response = administrator.open(f"/api/console/{quote(name)}")
                if response.status != 200:
                    raise RequestRefused(response.status, {"error": _why(response, name, address)})
                administrator.remove_deadline()
                call(self._begin, address, name)
                with parsing_response(address):
                    while line := response.readline(LARGEST + 1):
                        if len(line) > LARGEST:
                            raise ValueError(f"a line of more than {LARGEST} bytes")
                        call(self._hear, address, json.loads(line))
            call(self._leave, 0, f"{address.label} closed the event stream: {name} is no longer served")
        except (Unanswered, RequestRefused) as error:
            call(self._leave, 1, escaped(str(error)))
        except (OSError, HTTPException) as error:
            call(self._leave, 1, f"lost the connection to the daemon ({escaped(str(error) or type(error).__name__)})")

    def _send(self, address: Address, name: str) -> None:
        with Administrator(address) as administrator:
            while True:
                answer = self._answers.get()
                if answer is None:
                    self._reactor.callFromThread(self._left)
                    return
                body = json.dumps({"to": answer.to, "text": answer.text, "operator": self._operator}).encode()
                try:
                    administrator.ask(f"/api/console/{quote(name)}", "POST", body)
                except (Unanswered, RequestRefused) as error:
                    self._reactor.callFromThread(self._not_sent, escaped(str(error)))


def _only(administrator: Administrator) -> str:
    """The name of the only console service. Raises Unanswered if the daemon has none, or several."""
    status = administrator.ask("/api/status")
    with parsing_response(administrator.address):
        names = [str(one["name"]) for one in status["services"] if one["kind"] == "console"]
    if len(names) != 1:
        several = f"the daemon has several console services: name one of {', '.join(names)}"
        raise Unanswered(f"{administrator.address.label}: {several if names else 'the daemon has no console service'}")
    return names[0]


def _why(response: HTTPResponse, name: str, address: Address) -> str:
    """The error message for a refused event stream."""
    with parsing_response(address):
        reason = json.loads(response.read(LARGEST)).get("error", "")
    return f"{address.label}: " + (f"console service {name} does not exist" if response.status == 404 else str(reason))


COMMAND = Console
