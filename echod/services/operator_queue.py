"""The queue of messages between the clients and the operators of a console. Pure: it does not know sockets."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from echod.gate.total_buffer import Pressure
from echod.membership import ClientReceiver, OperatorEvent, Unanswerable
from echod.model import Context

LONGEST_ANSWER: Final = 65_536  #: bytes of one answer: more than an operator types


class Client:
    """A client of a LocalOperatorQueue. As `QueuedClient`. `waiting` has its unanswered messages, each with its Unix
    time."""

    def __init__(self, queue: LocalOperatorQueue, number: int, peer: str, host: str, receiver: ClientReceiver) -> None:
        self.number = number
        self.peer = peer
        self.host = host
        self.receiver = receiver
        self.waiting: list[tuple[float, str]] = []
        self.bytes = 0  # size of these messages
        self.missed = 0  # messages dropped since the last answer
        self.put_off = False  # whether `away` was sent since the last answer
        self.has_ended = False  # it has half-closed, and waits for an answer
        self._queue = queue

    def ask(self, text: str) -> None:
        """As QueuedClient."""
        self._queue.ask(self, text)

    def refuse(self) -> None:
        """As QueuedClient."""
        self._queue.refuse(self)

    def finish(self) -> None:
        """As QueuedClient."""
        self._queue.finish(self)

    def leave(self) -> None:
        """As QueuedClient."""
        self._queue.remove_client(self)


class LocalOperator:
    """An operator of a LocalOperatorQueue. As `Operator`."""

    def __init__(
        self,
        queue: LocalOperatorQueue,
        number: int,
        hear: Callable[[OperatorEvent], None],
        dismissed: Callable[[], None],
    ) -> None:
        self.hear = hear
        self.dismissed = dismissed
        self.number = number
        self._queue = queue

    def leave(self) -> None:
        """As Operator."""
        self._queue.remove_operator(self.number)


class LocalOperatorQueue:
    """The queue of messages between clients and operators. As `OperatorQueue`.

    `most` messages of one client wait, and `most_in_all` of all clients. A host holds at most as many as are free: one
    host can take half of them, and the next one half of the rest. Clients of a host that have ended sending, and may
    be gone, are closed when other clients of that host need the places.

    Without an operator a message waits. If `away` is set, the client is sent that once until an operator answers.
    """

    def __init__(self, context: Context, away: str, most: int, most_in_all: int) -> None:
        self._context = context
        self.reconfigure(away, most, most_in_all)
        self._clients: dict[int, Client] = {}
        self._operators: dict[int, LocalOperator] = {}
        self.numbers = 0  #: the number of the last client
        self.operator_numbers = 0  #: the number of the last operator
        self._kept = 0
        self._kept_of: Counter[str] = Counter()  # by host
        self._ended_of: dict[str, dict[Client, None]] = {}  # by host: clients that only wait for an answer
        self.last: int | None = None  #: the client of the last message

    def reconfigure(self, away: str, most: int, most_in_all: int) -> None:
        """Change the options."""
        self._away = away
        self._most = most
        self._most_in_all = most_in_all

    # for operators

    def add_operator(
        self,
        begun: Callable[[int, Iterator[OperatorEvent]], None],
        hear: Callable[[OperatorEvent], None],
        dismissed: Callable[[], None],
    ) -> LocalOperator:
        """As OperatorQueue."""
        self.operator_numbers += 1
        number = self.operator_numbers
        operator = self.keep_operator(number, hear, dismissed)
        here = [{"client": one.number, "peer": one.peer} for one in self._clients.values()]
        first = self._event("here", operator=number, operators=len(self._operators), clients=here)
        waiting = [(when, one, text) for one in self._clients.values() for when, text in one.waiting]
        begun(number, self._snapshot(first, sorted(waiting, key=lambda message: message[0])))
        return operator

    def keep_operator(
        self, number: int, hear: Callable[[OperatorEvent], None], dismissed: Callable[[], None]
    ) -> LocalOperator:
        """Add an operator with a number."""
        operator = self._operators[number] = LocalOperator(self, number, hear, dismissed)
        return operator

    @property
    def limits(self) -> tuple[str, int, int]:
        """The arguments of `reconfigure`."""
        return self._away, self._most, self._most_in_all

    def forget(self) -> None:
        """Release the messages, and forget all clients and operators."""
        for client in self._clients.values():
            self._release(client)
        self._clients.clear()
        self._operators.clear()

    @staticmethod
    def _snapshot(first: OperatorEvent, waiting: list[tuple[float, Client, str]]) -> Iterator[OperatorEvent]:
        yield first
        for when, one, text in waiting:
            yield OperatorEvent(event="said", time=when, client=one.number, peer=one.peer, text=text)

    def remove_operator(self, number: int) -> None:
        """Remove an operator; messages continue to wait."""
        self._operators.pop(number, None)

    def close(self) -> None:
        """Dismiss every operator, because the service was removed."""
        operators, self._operators = self._operators, {}
        for operator in operators.values():
            operator.dismissed()

    def answer(
        self, to: int | None, text: str, operator: int | None, done: Callable[[int | Unanswerable], None]
    ) -> None:
        """As OperatorQueue."""
        try:
            done(self._answer(to, text, operator))
        except Unanswerable as why:
            done(why)

    def _answer(self, to: int | None, text: str, operator: int | None) -> int:
        number = self.last if to is None else to
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
        client.receiver.put(data)
        client.receiver.flow()
        self._tell("answered", client, text=text, by=operator)
        if client.has_ended:
            client.receiver.end()
        return number

    # for clients

    def add_client(self, peer: str, host: str, receiver: ClientReceiver) -> Client:
        """As OperatorQueue."""
        self.numbers += 1
        client = self.keep_client(self.numbers, peer, host, receiver)
        self._tell("came", client)
        return client

    def keep_client(self, number: int, peer: str, host: str, receiver: ClientReceiver) -> Client:
        """Add a client with a number, without an event."""
        client = self._clients[number] = Client(self, number, peer, host, receiver)
        return client

    def ask(self, client: Client, text: str) -> None:
        """Queue a message of a client and show it to the operators; or drop it if too many wait."""
        if self.is_pressed(client):
            self.refuse(client)
        else:
            self.add_message(client, text)

    def is_pressed(self, client: Client) -> bool:
        """Whether the send budget has no room for a message of this client.

        Messages may wait for hours, so they must not be what keeps the send budget exhausted.
        """
        pressure = self._context.send_budget.pressure
        return pressure is Pressure.FULL or (pressure is Pressure.HALF and bool(client.waiting))

    def is_full_of(self, client: Client) -> bool:
        """Whether as many messages of this client wait as may wait of one."""
        return len(client.waiting) >= self._most

    def add_message(self, client: Client, text: str) -> None:
        """As `ask`, if the send budget has room."""
        if self.is_full_of(client) or not self._has_place(client):
            self.refuse(client)
            return
        now = self._context.wall_clock()
        self.keep_message(client, now, text)
        self.last = client.number
        self._tell("said", client, time=now, text=text)
        if self._away and not self._operators and not client.put_off:
            client.put_off = True
            client.receiver.put(f"{self._away}\n".encode())

    def keep_message(self, client: Client, when: float, text: str) -> None:
        """Add a message to those that wait."""
        client.waiting.append((when, text))
        self._count(client, sys.getsizeof(text))
        self._kept += 1
        self._kept_of[client.host] += 1

    def finish(self, client: Client) -> None:
        """A client has half-closed; it stays while it waits for an answer."""
        client.has_ended = True
        if client.waiting:
            self._ended_of.setdefault(client.host, {})[client] = None
        else:
            client.receiver.end()

    def remove_client(self, client: Client) -> None:
        """Remove a client and its waiting messages."""
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
            other.receiver.end()
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
        self._context.send_budget.change(size)

    def refuse(self, client: Client) -> None:
        """Drop a message of a client. The client and the operators are notified once until an answer."""
        client.missed += 1
        if client.missed == 1:
            waiting = f"{len(client.waiting)} of your messages wait" if client.waiting else "too many messages wait"
            client.receiver.put(f"-- {waiting} for an answer: further messages are dropped until then\n".encode())
            self._tell("missed", client)

    def _tell(self, event: str, client: Client, **fields: Any) -> None:
        if self._operators:
            message = self._event(event, client=client.number, peer=client.peer, **fields)
            for operator in list(self._operators.values()):
                operator.hear(message)

    def _event(self, event: str, **fields: Any) -> OperatorEvent:
        return OperatorEvent({"event": event, "time": self._context.wall_clock(), **fields})
