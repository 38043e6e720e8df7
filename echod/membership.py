"""The interfaces of membership: the rooms of a chat, and the queue between the clients and operators of a console.

Every process of a daemon that serves such a service uses one `Membership` for it. A connection, its session and its
outbox belong to one process; members, names, rooms, history and waiting messages belong to the service.

Only handles are returned. All results arrive by callback, because an implementation may have to ask another process.
A callback may be called before the method returns. Calls with one handle take effect in their order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from typing import Any, Protocol


class LineReceiver(Protocol):
    """The lines of one member, in the process of its connection. Its methods do not block or raise."""

    def put(self, line: bytes) -> None:
        """Add a line, with its line end; it is sent soon."""

    def put_all(self, lines: Collection[bytes]) -> None:
        """Add several lines, each with its line end."""


class RoomMember(Protocol):
    """A member of a chat. Each method sends its result to the member's receiver, as lines; so does each refusal.

    Texts are escaped. `say` and `act` return the units of work that they cost in this process.
    """

    def say(self, text: str) -> int:
        """Send a line to the other members of the room."""

    def act(self, text: str) -> int:
        """Describe an action to the other members of the room."""

    def message(self, to: str, text: str) -> None:
        """Send a text to the member of this name only."""

    def rename(self, written: str) -> None:
        """Change the name of the member; an empty one shows the name."""

    def move(self, written: str) -> None:
        """Move to a room, which is created if it does not exist; an empty one lists the rooms."""

    def list_members(self) -> None:
        """List the members of the room."""

    def hear(self, text: str) -> None:
        """Send a line to the receiver, after the results of earlier calls."""

    def finish(self, done: Callable[[], None]) -> None:
        """Leave the chat; `done` is called after all results, now or later, but not after `leave`."""

    def leave(self) -> None:
        """Leave the chat. Nothing is sent to the receiver afterwards."""


class Rooms(Protocol):
    """The rooms of one chat service."""

    def reconfigure(self, history: int, rooms: int, room_rate: float) -> None:
        """Change the limits: lines of history, number of rooms, lines a second in a room."""

    def enter(self, receiver: LineReceiver, host: str) -> RoomMember:
        """Add a member to the lobby, and send it a welcome. `host` is what it shares with other clients."""


class OperatorEvent(dict[str, Any]):
    """An event for operators: a mapping that is encoded once for all operators.

    Texts are as the client sent them, with bytes that are not UTF-8 decoded by `surrogateescape`. The code that shows
    them must escape them.
    """

    @cached_property
    def line(self) -> bytes:
        """The event as one line of JSON."""
        return json.dumps(self).encode() + b"\n"


class Unanswerable(ValueError):
    """An answer cannot be sent; the message gives the reason and is safe to print."""


class ClientReceiver(Protocol):
    """The lines of one client of a console, in the process of its connection. Its methods do not block or raise."""

    def put(self, line: bytes) -> None:
        """Add a line, with its line end. It is sent with the next `flow`, or with the reply of the session."""

    def flow(self) -> None:
        """Send what waits."""

    def end(self) -> None:
        """Send what waits, and close."""


class QueuedClient(Protocol):
    """A client of a console."""

    def ask(self, text: str) -> None:
        """Show a message to the operators; it waits for an answer."""

    def refuse(self) -> None:
        """Count a message that was dropped."""

    def finish(self) -> None:
        """The client has half-closed. Its receiver is ended when no message waits."""

    def leave(self) -> None:
        """Remove the client and its waiting messages. Nothing is sent to the receiver afterwards."""


class Operator(Protocol):
    """An operator of a console."""

    def leave(self) -> None:
        """Remove the operator; messages continue to wait. None of its callbacks is called afterwards."""


class OperatorQueue(Protocol):
    """The queue of one console service."""

    def reconfigure(self, away: str, most: int, most_in_all: int) -> None:
        """Change the options: the text without an operator, and the maximum of messages of one and of all clients."""

    def add_client(self, peer: str, host: str, receiver: ClientReceiver) -> QueuedClient:
        """Add a client. `peer` is its name for operators, `host` what it shares with other clients."""

    def add_operator(
        self,
        begun: Callable[[int, Iterator[OperatorEvent]], None],
        hear: Callable[[OperatorEvent], None],
        dismissed: Callable[[], None],
    ) -> Operator:
        """Add an operator. `begun` is called first: with its number, and the events of the clients and messages now.

        That is an iterator, so that a remote operator can pull them. `hear` is called with each later event.
        `dismissed` is called if a reload removes the service. The callbacks do not block or raise.
        """

    def answer(
        self, to: int | None, text: str, operator: int | None, done: Callable[[int | Unanswerable], None]
    ) -> None:
        """Answer a client, or with None the client of the last message. `done` gets its number, or the error."""

    def close(self) -> None:
        """Dismiss every operator, because the service was removed."""


class Membership(Protocol):
    """The membership of one service, before and after each reload.

    Each method returns the same object at each call. The arguments are the limits from the first call until
    `reconfigure`.
    """

    def rooms(self, history: int, rooms: int, room_rate: float) -> Rooms:
        """The rooms of the chat."""

    def queue(self, away: str, most: int, most_in_all: int) -> OperatorQueue:
        """The queue of the console."""
