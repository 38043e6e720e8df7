"""`echoctl console`: an operator's seat, over the administrator's interface of the running daemon."""

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
from echod.client.admin import LARGEST, Administrator, Refused, Unanswered, place, understanding
from echod.client.stdout import INTERRUPTED, fail, put_text, unreadable
from echod.lineedit.interactive_input import Typing
from echod.lineedit.operator_view import Leave, Operating, Say
from echod.text import counted, escaped


class Console:
    """Shows what happens at the desk, and sends what is typed. The interface is asked in two threads of its own: one
    reads the stream of events, one sends the answers, in their order."""

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        self._reactor = reactor
        self._finish = finish
        self._name: str | None = arguments.name
        self._answers: queue.SimpleQueue[Say | None] = queue.SimpleQueue()
        self._operator: int | None = None
        self._unsent = 0  # lines that were for a client, and answered none
        self._over = False
        self._operating = Operating(self._show)
        self._typing = Typing(
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
        """Leave the terminal as it was."""
        self._over = True
        self._typing.stop()
        return INTERRUPTED

    # in the reactor's thread

    def _show(self, line: str) -> None:
        self._typing.show(line)

    def _begin(self, address: Address, name: str) -> None:
        if not self._over:
            threading.Thread(target=self._send, args=(address, name), name="answers", daemon=True).start()
            self._typing.start()
            self._show(f"-- you sit at {name}; /help tells more")

    def _hear(self, address: Address, event: Any) -> None:
        try:
            with understanding(address):
                if event.get("event") == "here":
                    self._operator = event["operator"]
                self._operating.event(event)
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
        self._show(f"-- not sent: {why}")

    def _left(self) -> None:
        """All that could be sent has gone. In a pipe nobody has read why the rest could not."""
        count = 0 if self._typing.edits else self._unsent
        self._leave(1 if count else 0, f"{counted(count, 'line was', 'lines were')} not sent" if count else "")

    def _depart(self) -> None:
        """The operator has said all: leave when the last answer has gone."""
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
            address = place(arguments)
            with Administrator(address) as administrator:
                name = self._name or _only(administrator)
            with Administrator(address, patience=None) as administrator:
                response = administrator.open(f"/api/console/{quote(name)}")
                if response.status != 200:
                    raise Refused(response.status, {"error": _why(response, name, address)})
                call(self._begin, address, name)
                while line := response.readline(LARGEST + 1):
                    with understanding(address):
                        if len(line) > LARGEST:
                            raise ValueError(f"a line of more than {LARGEST} octets")
                        call(self._hear, address, json.loads(line))
            call(self._leave, 0, f"{address.place} has ended the conversation: {name} is served no more")
        except (Unanswered, Refused) as error:
            call(self._leave, 1, escaped(str(error)))
        except (OSError, HTTPException) as error:
            call(self._leave, 1, f"the daemon has gone ({escaped(str(error) or type(error).__name__)})")

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
                except (Unanswered, Refused) as error:
                    self._reactor.callFromThread(self._not_sent, escaped(str(error)))


def _only(administrator: Administrator) -> str:
    """The name of the one console service. Raises Unanswered, for there may be none, or several."""
    status = administrator.ask("/api/status")
    with understanding(administrator.address):
        names = [str(one["name"]) for one in status["services"] if one["kind"] == "console"]
    if len(names) != 1:
        several = f"there are several console services: name one of {', '.join(names)}"
        raise Unanswered(f"{administrator.address.place}: {several if names else 'there is no console service'}")
    return names[0]


def _why(response: HTTPResponse, name: str, address: Address) -> str:
    """What the daemon said of a seat that cannot be had."""
    with understanding(address):
        said = json.loads(response.read(LARGEST)).get("error", "")
    return f"{address.place}: " + (f"there is no console service {name}" if response.status == 404 else str(said))


COMMAND = Console
