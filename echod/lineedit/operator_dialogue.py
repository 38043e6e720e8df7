"""The view of a console operator: turns events into lines to show, and typed lines into answers. Pure.

It escapes all text of clients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from echod.escaping import escaped

HELP: Final = (
    "a line that you type answers the client that sent the last message; the commands are",
    "@3 TEXT   answer client 3",
    "/to 3     answer client 3 from now on; /to alone: the client of the last message",
    "/who      list the clients",
    "/quit     leave; messages wait for the next operator",
    "//TEXT    an answer that begins with /",
)


class Answer(NamedTuple):
    """The operator answers client number `to`."""

    to: int
    text: str


class Leave(NamedTuple):
    """The operator leaves."""


class OperatorView:
    """The view of one operator. `show` prints a line; `clock` converts a Unix time to local time."""

    def __init__(
        self, show: Callable[[str], object], clock: Callable[[float], time.struct_time] = time.localtime
    ) -> None:
        self._show = show
        self._clock = clock
        self._own: int | None = None
        self._clients: dict[int, str] = {}
        self._last: int | None = None  # the client that sent the last message
        self._chosen: int | None = None  # the client of /to
        self._held: int | None = None  # the client that the line being typed will answer

    @property
    def target(self) -> int | None:
        """The client that a line answers: that of /to, or that of the last message when the line was begun."""
        return self._chosen or self._held or self._last

    def prompt(self) -> str:
        """The prompt, with the client that the line answers."""
        return f"to {self.target}> " if self.target else "> "

    def typing(self, begun: bool) -> None:
        """The line has text, or is empty again. While it has text, new messages do not change its target."""
        self._held = (self._held or self._last) if begun else None

    def event(self, event: Mapping[str, Any]) -> None:
        """Show an event of the console service."""
        client = event.get("client")
        what = event.get("event")
        if what == "here":
            self._own = event.get("operator")
            self._clients = {one["client"]: escaped(one["peer"]) for one in event["clients"]}
            others = event["operators"] - 1
            also = f"; {others} other {'operator' if others == 1 else 'operators'}" if others else ""
            self._show(f"-- {len(self._clients) or 'no'} client{'' if len(self._clients) == 1 else 's'}{also}")
            return
        if not isinstance(client, int):
            if what == "missed":
                self._show(f"-- {escaped(str(event.get('events')))} events are missing here: you read too slowly")
            elif what == "bus":
                state = "restored" if event.get("connected") else "lost: other clients and operators have left"
                self._show(f"-- the connection to other servers is {state}")
            elif what == "ended":
                self._show(f"-- the daemon closed your session: {escaped(str(event.get('reason')))}")
            return
        peer = self._clients.setdefault(client, escaped(str(event.get("peer", ""))))
        when = time.strftime("%H:%M:%S", self._clock(float(event.get("time", 0.0))))
        if what == "said":
            self._last = client
            self._show(f"{when} [{client}] {peer}: {escaped(str(event['text']))}")
        elif what == "came":
            self._show(f"{when} [{client}] {peer} connected")
        elif what == "left":
            self._gone(client)
            lost = event.get("unanswered", 0)
            count = f", {escaped(str(lost))} unanswered" if lost else ""
            self._show(f"{when} [{client}] {peer} disconnected{count}")
        elif what == "answered" and event.get("by") != self._own:
            by = f"operator {escaped(str(event['by']))}" if event.get("by") else "another operator"
            self._show(f"{when} [{client}] {by} answered: {escaped(str(event['text']))}")
        elif what == "answered":
            self._show(f"{when} [{client}] you answered: {escaped(str(event['text']))}")
        elif what == "missed":
            self._show(f"{when} [{client}] {peer} has too many unanswered messages: more are dropped until you answer")

    def typed(self, line: str) -> Answer | Leave | None:
        """Process a typed line; returns the action, or None if it was handled here."""
        to, self._held = self.target, None
        text = line.strip()
        if not text:
            return None
        if text.startswith("/") and not text.startswith("//"):
            return self._command(text)
        if text.startswith("@"):
            number, _, text = text[1:].partition(" ")
            to = self._number(number)
            if to is None or not text.strip():
                if to is not None:
                    self._show("-- an answer needs a text: @3 TEXT")
                return None
        elif to is None:
            self._show("-- no client has sent a message yet")
            return None
        return Answer(to, text.strip().removeprefix("/") if text.startswith("//") else text.strip())

    def _command(self, text: str) -> Leave | None:
        word, _, rest = text[1:].partition(" ")
        if word == "quit":
            return Leave()
        if word == "to":
            self._choose(rest.strip())
        elif word == "who":
            for line in self._who():
                self._show(line)
        elif word == "help":
            for line in HELP:
                self._show(f"-- {line}")
        else:
            self._show(f"-- unknown command /{escaped(word[:40])}; /help lists the commands")
        return None

    def _choose(self, number: str) -> None:
        if not number:
            self._chosen = None
            self._show("-- a line answers the client of the last message")
        elif (client := self._number(number)) is not None:
            self._chosen = client
            self._show(f"-- every line answers client {client}")

    def _number(self, written: str) -> int | None:
        if written.isascii() and written.isdigit() and int(written[:9]) in self._clients:
            return int(written[:9])
        self._show(f"-- unknown client {escaped(written[:40]) or '(no number)'}; /who lists the clients")
        return None

    def _who(self) -> Iterator[str]:
        if not self._clients:
            yield "-- no clients"
        for number, peer in self._clients.items():
            yield f"-- [{number}] {peer}"

    def _gone(self, client: int) -> None:
        self._clients.pop(client, None)
        self._chosen = None if self._chosen == client else self._chosen
        self._last = None if self._last == client else self._last
        self._held = None if self._held == client else self._held
