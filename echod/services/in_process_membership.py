"""The membership of a service whose connections all belong to this process."""

from __future__ import annotations

from echod.membership import Membership
from echod.model import Context
from echod.services.chat_server import ChatServer
from echod.services.operator_queue import LocalOperatorQueue


class LocalMembership:
    """As `Membership`. `context` is that of the service."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rooms: ChatServer | None = None
        self._queue: LocalOperatorQueue | None = None

    def rooms(self, history: int, rooms: int, room_rate: float) -> ChatServer:
        """As Membership."""
        if self._rooms is None:
            self._rooms = ChatServer(self._context, history, rooms, room_rate)
        return self._rooms

    def queue(self, away: str, most: int, most_in_all: int) -> LocalOperatorQueue:
        """As Membership."""
        if self._queue is None:
            self._queue = LocalOperatorQueue(self._context, away, most, most_in_all)
        return self._queue


def membership_of(context: Context) -> Membership:
    """The membership that the daemon has assigned to a service, or a new local one."""
    return context.membership or LocalMembership(context)
