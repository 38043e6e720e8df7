"""The desk of a console: clients on one side of it, operators on the other. Pure: neither side is a socket here.

What operators hear are plain mappings, which a terminal shows and HTTP carries alike; their texts are as the client
wrote them (octets that are no UTF-8 by `surrogateescape`): whoever shows them escapes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from echod.model import CLOSE, NOTHING, Context, Reply, Say
from echod.services.outbox import Outbox

Hear = Callable[[Mapping[str, Any]], None]
"""An operator's ear: never blocks, and never raises."""

LONGEST_ANSWER: Final = 65_536  #: octets of one answer: more than anybody types


class Unanswerable(ValueError):
    """An answer cannot be given; the message says why, and is safe to print."""


class Client:
    """Somebody who asks. `waiting` are the texts that nobody has answered, each with its time since 1970."""

    def __init__(self, number: int, peer: str, outbox: Outbox) -> None:
        self.number = number
        self.peer = peer
        self.outbox = outbox
        self.waiting: list[tuple[float, str]] = []
        self.missed = 0  # messages that were not kept since the last answer
        self.put_off = False  # whether it has heard since the last answer that nobody is here
        self.has_ended = False  # it has said all, and waits for the answer


class Desk:
    """Who asks, who answers, and what waits: `most` messages of one client, `most_in_all` of all.

    Without an operator a message waits; where there is an `away`, its client hears that once until somebody answers.
    """

    def __init__(self, context: Context, *, away: str, most: int, most_in_all: int) -> None:
        self._context = context
        self.govern(away, most, most_in_all)
        self._clients: dict[int, Client] = {}
        self._operators: dict[int, tuple[Hear, Callable[[], None]]] = {}
        self._numbers = 0
        self._operator_numbers = 0
        self._kept = 0
        self._heard: int | None = None  # the client that was heard last

    def govern(self, away: str, most: int, most_in_all: int) -> None:
        """Go by these options from now on."""
        self._away = away
        self._most = most
        self._most_in_all = most_in_all

    # the operators' side

    def sit(self, hear: Hear, dismissed: Callable[[], None] = lambda: None) -> int:
        """Sit down; returns the operator's number. `hear` is told at once who is here and what waits.

        `dismissed` is called where a reload takes the service away, and nothing is heard behind it.
        """
        self._operator_numbers += 1
        number = self._operator_numbers
        self._operators[number] = hear, dismissed
        here = [{"client": one.number, "peer": one.peer} for one in self._clients.values()]
        self._tell_one(hear, "here", operator=number, operators=len(self._operators), clients=here)
        waiting = [(when, one, text) for one in self._clients.values() for when, text in one.waiting]
        for when, one, text in sorted(waiting, key=lambda message: message[0]):
            hear({"event": "said", "time": when, "client": one.number, "peer": one.peer, "text": text})
        return number

    def rise(self, operator: int) -> None:
        """Leave; what waits goes on waiting."""
        self._operators.pop(operator, None)

    def close(self) -> None:
        """There is no service any more: dismiss every operator."""
        operators, self._operators = self._operators, {}
        for _, dismissed in operators.values():
            dismissed()

    def answer(self, to: int | None, text: str, operator: int | None = None) -> int:
        """Answer a client, or (None) the one that was heard last; returns its number. Raises Unanswerable."""
        number = self._heard if to is None else to
        client = None if number is None else self._clients.get(number)
        if number is None:
            raise Unanswerable("nobody has said anything yet")
        if client is None:
            raise Unanswerable(f"client {number} is not here")
        said = f"{text}\n".encode("utf-8", "backslashreplace")
        if len(said) > LONGEST_ANSWER:
            raise Unanswerable(f"an answer has {LONGEST_ANSWER} octets at most, not {len(said)}")
        self._kept -= len(client.waiting)
        client.waiting.clear()
        client.missed = 0
        client.put_off = False
        client.outbox.put(said)
        client.outbox.flow()
        self._tell("answered", client, text=text, by=operator)
        if client.has_ended:
            client.outbox.end()
        return number

    # the clients' side

    def come(self, peer: str, say: Say, *, joined: bool) -> Client:
        """Somebody new. `joined` says whether answers may be handed over together."""
        self._numbers += 1
        client = self._clients[self._numbers] = Client(self._numbers, peer, Outbox(say, _missed, joined=joined))
        self._tell("came", client)
        return client

    def hear(self, client: Client, text: str) -> None:
        """A message of a client."""
        if len(client.waiting) >= self._most or self._kept >= self._most_in_all:
            self.refuse(client)
            return
        now = self._context.wall_clock()
        client.waiting.append((now, text))
        self._kept += 1
        self._heard = client.number
        self._tell("said", client, time=now, text=text)
        if self._away and not self._operators and not client.put_off:
            client.put_off = True
            client.outbox.put(f"{self._away}\n".encode())

    def end(self, client: Client) -> Reply:
        """A client has said all; it stays for as long as it waits for an answer."""
        client.has_ended = True
        return NOTHING if client.waiting else CLOSE

    def leave(self, client: Client) -> None:
        """A client has gone, and what it said that nobody answered is of no use any more."""
        if self._clients.pop(client.number, None) is not None:
            self._kept -= len(client.waiting)
            self._tell("left", client, unanswered=len(client.waiting) + client.missed)

    def refuse(self, client: Client) -> None:
        """A message of a client is not kept."""
        client.missed += 1
        if client.missed == 1:
            waiting = f"{len(client.waiting)} of your messages wait" if client.waiting else "too many messages wait"
            client.outbox.put(f"-- {waiting} for an answer: what you send before it is lost\n".encode())
            self._tell("missed", client)

    def _tell(self, event: str, client: Client, **fields: Any) -> None:
        for hear, _ in list(self._operators.values()):
            self._tell_one(hear, event, client=client.number, peer=client.peer, **fields)

    def _tell_one(self, hear: Hear, event: str, **fields: Any) -> None:
        hear({"event": event, "time": self._context.wall_clock(), **fields})


def _missed(count: int) -> bytes:
    return f"-- {count} answers are missing here: you read too slowly\n".encode()
