"""What an operator of a console sees and types, at whichever terminal. Pure: events in, lines to show out, and back.

Every text of a client is escaped here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from echod.text import escaped

HELP: Final = (
    "a line that you type answers the client that spoke last; the commands are",
    "@3 TEXT   answer client 3",
    "/to 3     answer client 3 until you say otherwise; /to alone: whoever spoke last",
    "/who      who is here",
    "/quit     leave; messages wait for the next operator",
    "//TEXT    an answer that begins with a /",
)


class Say(NamedTuple):
    """The operator answers a client."""

    to: int
    text: str


class Leave(NamedTuple):
    """The operator leaves."""


class Operating:
    """One operator's view. `show` prints a line; `clock` turns a time since 1970 into what the wall says."""

    def __init__(
        self, show: Callable[[str], object], clock: Callable[[float], time.struct_time] = time.localtime
    ) -> None:
        self._show = show
        self._clock = clock
        self._own: int | None = None
        self._clients: dict[int, str] = {}
        self._heard: int | None = None
        self._chosen: int | None = None
        self._held: int | None = None  # whom the line that is being typed will answer

    @property
    def target(self) -> int | None:
        """Whom a line answers: who was chosen, or who spoke last when it was begun."""
        return self._chosen or self._held or self._heard

    def prompt(self) -> str:
        """What stands before the line that is typed."""
        return f"to {self.target}> " if self.target else "> "

    def typing(self, begun: bool) -> None:
        """A line was begun, or is empty again: what comes meanwhile does not turn an answer to somebody else."""
        self._held = (self._held or self._heard) if begun else None

    def event(self, event: Mapping[str, Any]) -> None:
        """Something happened at the desk."""
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
            elif what == "ended":
                self._show(f"-- the daemon has ended your seat: {escaped(str(event.get('reason')))}")
            return
        peer = self._clients.setdefault(client, escaped(str(event.get("peer", ""))))
        when = time.strftime("%H:%M:%S", self._clock(float(event.get("time", 0.0))))
        if what == "said":
            self._heard = client
            self._show(f"{when} [{client}] {peer}: {escaped(str(event['text']))}")
        elif what == "came":
            self._show(f"{when} [{client}] {peer} has come")
        elif what == "left":
            self._gone(client)
            lost = event.get("unanswered", 0)
            self._show(f"{when} [{client}] {peer} has left" + (f", {escaped(str(lost))} unanswered" if lost else ""))
        elif what == "answered" and event.get("by") != self._own:
            by = f"operator {escaped(str(event['by']))}" if event.get("by") else "somebody"
            self._show(f"{when} [{client}] {by} answered: {escaped(str(event['text']))}")
        elif what == "answered":
            self._show(f"{when} [{client}] you answered: {escaped(str(event['text']))}")
        elif what == "missed":
            self._show(f"{when} [{client}] {peer} has sent more than may wait: the rest is lost until you answer")

    def typed(self, line: str) -> Say | Leave | None:
        """A line was typed; what is to be done."""
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
            self._show("-- nobody has said anything yet")
            return None
        return Say(to, text.strip().removeprefix("/") if text.startswith("//") else text.strip())

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
            self._show(f"-- there is no command /{escaped(word[:40])}; /help lists them")
        return None

    def _choose(self, number: str) -> None:
        if not number:
            self._chosen = None
            self._show("-- a line answers whoever spoke last")
        elif (client := self._number(number)) is not None:
            self._chosen = client
            self._show(f"-- every line answers client {client}")

    def _number(self, written: str) -> int | None:
        if written.isascii() and written.isdigit() and int(written[:9]) in self._clients:
            return int(written[:9])
        self._show(f"-- there is no client {escaped(written[:40]) or 'without a number'}; /who lists them")
        return None

    def _who(self) -> Iterator[str]:
        if not self._clients:
            yield "-- nobody is here"
        for number, peer in self._clients.items():
            yield f"-- [{number}] {peer}"

    def _gone(self, client: int) -> None:
        self._clients.pop(client, None)
        self._chosen = None if self._chosen == client else self._chosen
        self._heard = None if self._heard == client else self._heard
        self._held = None if self._held == client else self._held
