"""The queue of a console in several processes: each process has a replica. As `echod.membership.OperatorQueue`.

All changes are messages of one topic of the bus, which every process applies in the same order. Clients, operators and
messages therefore have the same numbers in all of them. Each process sends answers to the clients of its own
connections, and events to its own operators. Those of the admin interface are in the parent.

A message is a JSON array: the name of the change, the number that its process has given the client, operator or
answer, and arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from echod.bus.bus_interface import MESSAGE, Bus
from echod.gate.total_buffer import Pressure
from echod.membership import ClientReceiver, OperatorEvent, Unanswerable
from echod.model import Context
from echod.services.operator_queue import LONGEST_ANSWER, Client, LocalOperator, LocalOperatorQueue
from echod.services.replicated_rooms import Key, decoded, encoded
from echod.services.rooms import NO_CLIENT

Begun = Callable[[int, Iterator[OperatorEvent]], None]
Hear = Callable[[OperatorEvent], None]
Done = Callable[[int | Unanswerable], None]

COST: Final = 4  #: units of work of one change: an event for an operator, or a line for a client


def _nothing(*_given: object) -> None:
    """The callbacks of an operator of another process, and of one that has left."""


class ReplicatedClient:
    """A client whose connection belongs to this process. As `QueuedClient`."""

    def __init__(self, queue: ReplicatedQueue, number: int, peer: str, host: str, receiver: ClientReceiver) -> None:
        self.number = number
        self.peer = peer
        self.host = host
        self.receiver = receiver
        self.has_finished = False
        self.dropped = 0  #: messages that were dropped here, after the notice that it has got
        self._queue = queue

    def ask(self, text: str) -> None:
        """As QueuedClient."""
        self._queue.ask(self, text)

    def refuse(self) -> None:
        """As QueuedClient."""
        self._queue.refuse(self)

    def finish(self) -> None:
        """As QueuedClient."""
        self.has_finished = True
        self._queue.publish("finish", self.number, must=True)

    def leave(self) -> None:
        """As QueuedClient."""
        self._queue.remove_client(self)


class ReplicatedOperator:
    """An operator in this process. As `Operator`."""

    def __init__(
        self, queue: ReplicatedQueue, number: int, begun: Begun, hear: Hear, dismissed: Callable[[], None]
    ) -> None:
        self.number = number
        self.begun = begun
        self.hear = hear
        self.dismissed = dismissed
        self._queue = queue

    def leave(self) -> None:
        """As Operator."""
        self._queue.remove_operator(self)


class ReplicatedQueue:
    """The queue of one console. As `OperatorQueue`, and as `bus_interface.Replica`."""

    def __init__(self, bus: Bus, topic: str, context: Context, limits: tuple[str, int, int]) -> None:
        self._context = context
        self._queue = LocalOperatorQueue(context, *limits)
        self._node = 0
        self._numbers = 0
        self._clients_here: dict[int, ReplicatedClient] = {}
        self._operators_here: dict[int, ReplicatedOperator] = {}
        self._answers: dict[int, Done] = {}  # that have not returned
        self._clients: dict[Key, Client] = {}
        self._operators: dict[Key, LocalOperator] = {}
        self._topic = bus.join(topic, self)

    # as OperatorQueue

    def reconfigure(self, away: str, most: int, most_in_all: int) -> None:
        """As OperatorQueue. Each process does it after a reload; the last one decides."""
        self.publish("limits", 0, away, most, most_in_all, must=True)

    def add_client(self, peer: str, host: str, receiver: ClientReceiver) -> ReplicatedClient:
        """As OperatorQueue."""
        client = ReplicatedClient(self, self._number(), peer, host, receiver)
        self._clients_here[client.number] = client
        self.publish("client", client.number, peer, host, must=True)
        return client

    def add_operator(self, begun: Begun, hear: Hear, dismissed: Callable[[], None]) -> ReplicatedOperator:
        """As OperatorQueue. `begun` is called when the message has returned."""
        operator = ReplicatedOperator(self, self._number(), begun, hear, dismissed)
        self._operators_here[operator.number] = operator
        self.publish("operator", operator.number, must=True)
        return operator

    def answer(self, to: int | None, text: str, operator: int | None, done: Done) -> None:
        """As OperatorQueue. An answer that may be lost is reported as one that cannot be sent."""
        number = self._number()
        self._answers[number] = done
        if len(text) > LONGEST_ANSWER or len(message := encoded("answer", number, to, text, operator)) > MESSAGE:
            self._done(number, Unanswerable(f"an answer is too long; the maximum is {LONGEST_ANSWER} bytes"))
        elif not self._topic.publish(message):
            self._done(number, Unanswerable("not sent: the daemon is too busy"))

    def close(self) -> None:
        """As OperatorQueue: dismiss the operators of this process. Each process does it."""
        operators = list(self._operators_here.values())
        for operator in operators:
            self.remove_operator(operator)
            operator.dismissed()

    # for the clients and operators of this process

    def publish(self, change: str, number: int, *arguments: Any, must: bool = False) -> bool:
        """Publish a change."""
        return self._topic.publish(encoded(change, number, *arguments), must=must)

    def ask(self, client: ReplicatedClient, text: str) -> None:
        """Publish a message, or that it was dropped."""
        ours = self._clients.get((self._node, client.number))
        if ours is None:
            pressed = self._context.send_budget.pressure is Pressure.FULL
        else:
            pressed = self._queue.is_pressed(ours) or (ours.missed > 0 and self._queue.is_full_of(ours))
        if pressed or not self.publish("ask", client.number, text):
            self.refuse(client)

    def refuse(self, client: ReplicatedClient) -> None:
        """Publish that a message was dropped: the first one since the last answer. Others are counted here."""
        ours = self._clients.get((self._node, client.number))
        if ours is not None and ours.missed:
            client.dropped += 1
        else:
            client.dropped = 0
            self.publish("refuse", client.number)

    def remove_client(self, client: ReplicatedClient) -> None:
        """Remove a client. Nothing more is sent to it."""
        if self._clients_here.pop(client.number, None) is None:
            return
        if (ours := self._clients.get((self._node, client.number))) is not None:
            ours.receiver = NO_CLIENT
        dropped = client.dropped if ours is not None and ours.missed else 0
        self.publish("gone", client.number, dropped, must=True)

    def remove_operator(self, operator: ReplicatedOperator) -> None:
        """Remove an operator. None of its callbacks is called afterwards."""
        if self._operators_here.pop(operator.number, None) is not None:
            if (ours := self._operators.get((self._node, operator.number))) is not None:
                ours.hear = ours.dismissed = _nothing
            self.publish("operator gone", operator.number, must=True)

    # as Replica

    def received(self, node: int, message: bytes) -> int:
        """As Replica."""
        change, number, *arguments = decoded(message)
        if change == "limits":
            self._queue.reconfigure(*arguments)
        elif change == "client":
            self._add_client((node, number), *arguments)
        elif change == "operator":
            self._add_operator((node, number))
        elif change == "operator gone":
            self._remove_operator((node, number))
        elif change == "answer":
            to, text, operator = arguments
            self._queue.answer(to, text, operator, partial(self._done, number) if node == self._node else _nothing)
        elif (client := self._clients.get((node, number))) is not None:  # otherwise it has left
            self._change(change, (node, number), client, *arguments)
        return COST

    def left(self, node: int) -> None:
        """As Replica: the clients and operators of a process that has ended leave."""
        for key in [key for key in self._operators if key[0] == node]:
            self._remove_operator(key)
        for key in [key for key in self._clients if key[0] == node]:
            self._queue.remove_client(self._clients.pop(key))

    def together(self, connected: bool) -> None:
        """As Replica: notify the operators of this process."""
        for operator in list(self._operators_here.values()):
            operator.hear(OperatorEvent(event="bus", connected=connected))

    def state(self) -> Iterator[bytes]:
        """As Replica."""
        queue = self._queue
        yield encoded("limits", queue.limits, queue.numbers, queue.operator_numbers, queue.last)
        for key, client in sorted(self._clients.items(), key=lambda item: item[1].number):
            fields = client.number, client.peer, client.host, client.missed, client.put_off, client.has_ended
            yield encoded("client", key, *fields)
            for when, text in client.waiting:
                yield encoded("waiting", key, when, text)
        for key, operator in self._operators.items():
            yield encoded("operator", key, operator.number)

    def restored(self, node: int, parts: Iterable[bytes] | None, lost: int) -> None:
        """As Replica. The clients and operators of this process join again, if the state does not have them."""
        waiting = {
            number: [text for _, text in client.waiting]
            for (owner, number), client in self._clients.items()
            if owner == self._node
        }
        if parts is None:
            self._continue_alone(node)
        else:
            self._replace(node, parts)
        self._send_again(waiting)
        if lost:
            for operator in list(self._operators_here.values()):
                operator.hear(OperatorEvent(event="missed", events=lost))
            for number in list(self._answers):
                self._done(number, Unanswerable("the answer may be lost: the daemon is too busy"))

    def _continue_alone(self, node: int) -> None:
        for other in {key[0] for key in (*self._clients, *self._operators)} - {self._node}:
            self.left(other)
        self._node = node
        self._clients = {(node, number): client for (_, number), client in self._clients.items()}
        self._operators = {(node, number): operator for (_, number), operator in self._operators.items()}

    def _replace(self, node: int, parts: Iterable[bytes]) -> None:
        """Forget everything, and continue with a state. A wrong one raises an exception, and changes nothing."""
        before = self._queue, self._clients, self._operators, self._node
        self._queue = LocalOperatorQueue(self._context, *self._queue.limits)
        self._clients, self._operators, self._node = {}, {}, node
        try:
            self._take(self._queue, parts)
        except Exception:
            self._queue.forget()
            self._queue, self._clients, self._operators, self._node = before
            raise
        before[0].forget()

    def _take(self, queue: LocalOperatorQueue, parts: Iterable[bytes]) -> None:
        """Add a state to the replica, which is empty."""
        for part in parts:
            what, *fields = decoded(part)
            if what == "limits":
                queue.forget()
                queue = self._queue = LocalOperatorQueue(self._context, *fields[0])
                queue.numbers, queue.operator_numbers = map(int, fields[1:3])
                queue.last = None if fields[3] is None else int(fields[3])
                continue
            key: Key = (fields[0][0], fields[0][1])
            if what == "operator":
                self._operators[key] = queue.keep_operator(fields[1], *self._callbacks(key))
            elif what == "waiting":
                queue.keep_message(self._clients[key], *fields[1:])
            else:
                _, number, peer, host, missed, put_off, has_ended = fields
                client = self._clients[key] = queue.keep_client(number, peer, host, self._receiver(key))
                client.missed, client.put_off, client.has_ended = missed, put_off, has_ended
        for client in filter(lambda one: one.has_ended, self._clients.values()):
            self._queue.finish(client)  # counts it among those that only wait for an answer

    def _send_again(self, waiting: Mapping[int, Iterable[str]]) -> None:
        """Publish everything of this process that the state does not have, and remove what only the state has.

        `waiting` has the messages of the clients of this process.
        """
        node = self._node
        for number, client in self._clients_here.items():
            ours = self._clients.get((node, number))
            if ours is None:
                self.publish("client", number, client.peer, client.host, must=True)
                for text in waiting.get(number, ()):
                    self.publish("ask", number, text)
            if client.has_finished and (ours is None or not ours.has_ended):
                self.publish("finish", number, must=True)
        for number in self._operators_here:
            if (node, number) not in self._operators:
                self.publish("operator", number, must=True)
        for (owner, number), _ in list(self._clients.items()):
            if owner == node and number not in self._clients_here:
                self.publish("gone", number, 0, must=True)
        for owner, number in list(self._operators):
            if owner == node and number not in self._operators_here:
                self.publish("operator gone", number, must=True)

    # the changes

    def _add_client(self, key: Key, peer: str, host: str) -> None:
        if key not in self._clients:
            self._clients[key] = self._queue.add_client(peer, host, self._receiver(key))

    def _add_operator(self, key: Key) -> None:
        if key in self._operators:
            return
        operator = self._operators_here.get(key[1]) if key[0] == self._node else None
        begun = _nothing if operator is None else operator.begun
        if operator is not None:
            operator.begun = _nothing  # if it joins again after a loss, it has begun already
        self._operators[key] = self._queue.add_operator(begun, *self._callbacks(key))

    def _remove_operator(self, key: Key) -> None:
        if (operator := self._operators.pop(key, None)) is not None:
            operator.leave()

    def _change(self, change: str, key: Key, client: Client, *arguments: Any) -> None:
        if change == "ask":
            self._queue.add_message(client, *arguments)
            client.receiver.flow()
        elif change == "refuse":
            self._queue.refuse(client)
            client.receiver.flow()
        elif change == "finish":
            self._queue.finish(client)
        elif change == "gone":
            del self._clients[key]
            client.missed += arguments[0]
            self._queue.remove_client(client)

    def _done(self, number: int, result: int | Unanswerable) -> None:
        if (done := self._answers.pop(number, None)) is not None:
            done(result)

    def _receiver(self, key: Key) -> ClientReceiver:
        client = self._clients_here.get(key[1]) if key[0] == self._node else None
        return NO_CLIENT if client is None else client.receiver

    def _callbacks(self, key: Key) -> tuple[Hear, Callable[[], None]]:
        operator = self._operators_here.get(key[1]) if key[0] == self._node else None
        return (_nothing, _nothing) if operator is None else (operator.hear, operator.dismissed)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers
