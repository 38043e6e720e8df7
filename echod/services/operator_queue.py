"""The queue of messages between the clients and the operators of a console. Pure: it does not know sockets.

Operators get events as mappings, for a terminal or for HTTP. Texts are as the client sent them, with bytes that are
not UTF-8 decoded by `surrogateescape`. The code that shows them must escape them.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Final

from echod.gate.send_budget import Pressure
from echod.model import CLOSE, NOTHING, Context, Reply, Say
from echod.services.outbox import ReplyOutbox

LONGEST_ANSWER: Final = 65_536  #: bytes of one answer: more than an operator types


class Event(dict[str, Any]):
    """An event for operators: a mapping that is encoded once for all operators."""

    @cached_property
    def line(self) -> bytes:
        """The event as one line of JSON."""
        return json.dumps(self).encode() + b"\n"


Hear = Callable[[Event], None]
"""Receives the events of an operator; it must not block or raise."""


class Unanswerable(ValueError):
    """An answer cannot be sent; the message gives the reason and is safe to print."""


class Client:
    """A client. `waiting` has its unanswered messages, each with its Unix time."""

    def __init__(self, number: int, peer: str, host: str, outbox: ReplyOutbox) -> None:
        self.number = number
        self.peer = peer
        self.host = host
        self.outbox = outbox
        self.waiting: list[tuple[float, str]] = []
        self.bytes = 0  # size of these messages
        self.missed = 0  # messages dropped since the last answer
        self.put_off = False  # whether `away` was sent since the last answer
        self.has_ended = False  # it has half-closed, and waits for an answer


class Desk:
    """The queue of messages between clients and operators.

    `most` messages of one client wait, and `most_in_all` of all clients. A host holds at most as many as are free: one
    host can take half of them, and the next one half of the rest. Clients of a host that have ended sending, and may
    be gone, are closed when other clients of that host need the places.

    Without an operator a message waits. If `away` is set, the client is sent that once until an operator answers.
    """

    def __init__(self, context: Context, *, away: str, most: int, most_in_all: int) -> None:
        self.context = context
        self.reconfigure(away, most, most_in_all)
        self._clients: dict[int, Client] = {}
        self._operators: dict[int, tuple[Hear, Callable[[], None]]] = {}
        self._numbers = 0
        self._operator_numbers = 0
        self._kept = 0
        self._kept_of: Counter[str] = Counter()  # by host
        self._ended_of: dict[str, dict[Client, None]] = {}  # by host: clients that only wait for an answer
        self._heard: int | None = None  # the client of the last message

    def reconfigure(self, away: str, most: int, most_in_all: int) -> None:
        """Change the options."""
        self._away = away
        self._most = most
        self._most_in_all = most_in_all

    # the operators' side

    def sit(self, hear: Hear, dismissed: Callable[[], None] = lambda: None) -> tuple[int, Iterator[Event]]:
        """Add an operator; returns its number, and the events that list the clients and what waits.

        They come before everything that `hear` is called with; an iterator, so that a remote operator can pull them.
        `dismissed` is called when a reload removes the service, and `hear` is not called afterwards.
        """
        self._operator_numbers += 1
        number = self._operator_numbers
        self._operators[number] = hear, dismissed
        here = [{"client": one.number, "peer": one.peer} for one in self._clients.values()]
        began = self._event("here", operator=number, operators=len(self._operators), clients=here)
        waiting = [(when, one, text) for one in self._clients.values() for when, text in one.waiting]
        return number, self._snapshot(began, sorted(waiting, key=lambda message: message[0]))

    @staticmethod
    def _snapshot(began: Event, waiting: list[tuple[float, Client, str]]) -> Iterator[Event]:
        yield began
        for when, one, text in waiting:
            yield Event(event="said", time=when, client=one.number, peer=one.peer, text=text)

    def rise(self, operator: int) -> None:
        """Remove an operator; messages continue to wait."""
        self._operators.pop(operator, None)

    def close(self) -> None:
        """Dismiss every operator, because the service was removed."""
        operators, self._operators = self._operators, {}
        for _, dismissed in operators.values():
            dismissed()

    def answer(self, to: int | None, text: str, operator: int | None = None) -> int:
        """Answer a client, or with None the client of the last message; returns its number. Raises Unanswerable."""
        number = self._heard if to is None else to
        client = None if number is None else self._clients.get(number)
        if number is None:
            raise Unanswerable("no client has sent a message yet")
        if client is None:
            raise Unanswerable(f"client {number} is not connected")
        data = f"{text}\n".encode("utf-8", "backslashreplace")
        if len(data) > LONGEST_ANSWER:
            raise Unanswerable(f"an answer of {len(data)} bytes is too long; the maximum is {LONGEST_ANSWER}")
        self._release(client)
        client.missed = 0
        client.put_off = False
        client.outbox.put(data)
        client.outbox.flow()
        self._tell("answered", client, text=text, by=operator)
        if client.has_ended:
            client.outbox.end()
        return number

    # the clients' side

    def come(self, peer: str, host: str, say: Say, *, joined: bool) -> Client:
        """Add a client of `host`. `joined` says whether answers may be handed over together."""
        self._numbers += 1
        outbox = ReplyOutbox(self.context, say, _missed, joined=joined)
        client = self._clients[self._numbers] = Client(self._numbers, peer, host, outbox)
        self._tell("came", client)
        return client

    def hear(self, client: Client, text: str) -> None:
        """Queue a message of a client and show it to the operators; or drop it if too many wait."""
        # Messages may wait for hours, so they must not be what keeps the send budget exhausted.
        pressure = self.context.send_budget.pressure
        much = pressure is Pressure.FULL or (pressure is Pressure.HALF and client.waiting)
        if much or len(client.waiting) >= self._most or not self._has_place(client):
            self.refuse(client)
            return
        now = self.context.wall_clock()
        client.waiting.append((now, text))
        self._count(client, sys.getsizeof(text))
        self._kept += 1
        self._kept_of[client.host] += 1
        self._heard = client.number
        self._tell("said", client, time=now, text=text)
        if self._away and not self._operators and not client.put_off:
            client.put_off = True
            client.outbox.put(f"{self._away}\n".encode())

    def end(self, client: Client) -> Reply:
        """A client has half-closed; it stays while it waits for an answer."""
        client.has_ended = True
        if not client.waiting:
            return CLOSE
        self._ended_of.setdefault(client.host, {})[client] = None
        return NOTHING

    def leave(self, client: Client) -> None:
        """Remove a client and its waiting messages."""
        client.outbox.close()
        if self._clients.pop(client.number, None) is not None:
            unanswered = len(client.waiting) + client.missed
            self._release(client)
            self._tell("left", client, unanswered=unanswered)

    def _has_place(self, client: Client) -> bool:
        """Whether a message of this host may wait. If necessary, half-closed clients of the host are closed."""
        if self._is_free(client.host):
            return True
        ended = self._ended_of.get(client.host, {})
        while ended:
            other = next(iter(ended))
            other.missed += len(other.waiting)
            self._release(other)
            other.outbox.end()
            if self._is_free(client.host):
                return True
        return False

    def _is_free(self, host: str) -> bool:
        return self._kept_of[host] < self._most_in_all - self._kept

    def _release(self, client: Client) -> None:
        """Remove the waiting messages of a client."""
        count = len(client.waiting)
        client.waiting.clear()
        self._count(client, -client.bytes)
        self._kept -= count
        self._kept_of[client.host] -= count
        if self._kept_of[client.host] <= 0:
            del self._kept_of[client.host]
        ended = self._ended_of.get(client.host, {})
        ended.pop(client, None)
        if not ended:
            self._ended_of.pop(client.host, None)

    def _count(self, client: Client, size: int) -> None:
        """Change the size of a client's messages, which counts in the send budget."""
        client.bytes += size
        self.context.send_budget.change(size)

    def refuse(self, client: Client) -> None:
        """Drop a message of a client. The client and the operators are notified once until an answer."""
        client.missed += 1
        if client.missed == 1:
            waiting = f"{len(client.waiting)} of your messages wait" if client.waiting else "too many messages wait"
            client.outbox.put(f"-- {waiting} for an answer: further messages are dropped until then\n".encode())
            self._tell("missed", client)

    def _tell(self, event: str, client: Client, **fields: Any) -> None:
        if self._operators:
            message = self._event(event, client=client.number, peer=client.peer, **fields)
            for hear, _ in list(self._operators.values()):
                hear(message)

    def _event(self, event: str, **fields: Any) -> Event:
        return Event({"event": event, "time": self.context.wall_clock(), **fields})


def _missed(count: int) -> bytes:
    return f"-- {count} answers are missing here: you read too slowly\n".encode()
