"""The rooms of a chat in several processes: each process has a replica of all rooms. As `echod.membership.Rooms`.

All changes are messages of one topic of the bus, which every process applies in the same order. Names and rooms
therefore belong to the same members in all of them. Each process sends lines to the members of its own connections.

The rate of a room is checked by the process of the member that sends a line. Each process counts the lines of all, so
a room gets its rate, and one burst for each process.

A message is a JSON array: the name of the change, the number that its process has given the member, and arguments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from echod.bus.bus_interface import Bus
from echod.membership import LineReceiver
from echod.model import Context
from echod.services.chat_server import HEARERS, ChatServer, LocalMember
from echod.services.rooms import NOWHERE, Unheard, line

BUSY: Final = "-- not sent: the daemon is too busy"
APART: Final = "-- the connection to other servers is lost: only members of this one read you"
AGAIN: Final = "-- the connection to other servers is restored"
LINES: Final = 32  #: lines of a history in one part of the state: at most 128 KiB before JSON escapes them
MEMBERS: Final = 200  #: members in one part of the state

Key = tuple[int, int]
"""A member: the number of the node that has its connection, and its number there."""


def encoded(*fields: Any) -> bytes:
    """A message. Text may have bytes that are not UTF-8, as `surrogateescape` decodes them."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def decoded(message: bytes) -> Any:
    """The fields of a message."""
    return json.loads(message.decode("utf-8", "surrogatepass"))


def numbers(history: Any, rooms: Any, room_rate: Any) -> tuple[int, int, float]:
    """The limits of a message. Raises ValueError or TypeError."""
    return int(history), int(rooms), room_rate + 0


class ReplicatedMember:
    """A member whose connection belongs to this process. As `RoomMember`."""

    def __init__(self, rooms: ReplicatedRooms, number: int, receiver: LineReceiver, host: str) -> None:
        self.number, self.receiver, self.host = number, receiver, host
        self.pending = 0  #: messages of it that have not returned: until then its place in the replica may be old
        self.done: Callable[[], None] | None = None  #: called when its `leave` has returned
        self._rooms = rooms

    def say(self, text: str) -> int:
        """As RoomMember."""
        return self._rooms.send_line(self, "say", text)

    def act(self, text: str) -> int:
        """As RoomMember."""
        return self._rooms.send_line(self, "act", text)

    def message(self, to: str, text: str) -> None:
        """As RoomMember."""
        self._rooms.send_message(self, to, text)

    def rename(self, written: str) -> None:
        """As RoomMember."""
        self._rooms.send(self, "rename", written) if written else self._rooms.show(self, "rename", written)

    def move(self, written: str) -> None:
        """As RoomMember."""
        self._rooms.send(self, "move", written) if written else self._rooms.show(self, "move", written)

    def list_members(self) -> None:
        """As RoomMember."""
        self._rooms.show(self, "list")

    def hear(self, text: str) -> None:
        """As RoomMember."""
        self._rooms.show(self, "hear", text)

    def finish(self, done: Callable[[], None]) -> None:
        """As RoomMember."""
        self.done = done
        self._rooms.finish(self)

    def leave(self) -> None:
        """As RoomMember."""
        self._rooms.leave(self)


class ReplicatedRooms:
    """The rooms of one chat. As `Rooms`, and as `bus_interface.Replica`."""

    def __init__(self, bus: Bus, topic: str, context: Context, limits: tuple[int, int, float]) -> None:
        self._context = context
        self._server = ChatServer(context, *limits)
        self._node = self._numbers = 0
        self._here: dict[int, ReplicatedMember] = {}  # the members of this process, by number
        self._members: dict[Key, LocalMember] = {}  # those of all processes, if their first message has arrived
        self._topic = bus.join(topic, self)

    # as Rooms

    def reconfigure(self, history: int, rooms: int, room_rate: float) -> None:
        """As Rooms. Each process does it after a reload; the last one decides."""
        self._topic.publish(encoded("limits", 0, history, rooms, room_rate), must=True)

    def enter(self, receiver: LineReceiver, host: str) -> ReplicatedMember:
        """As Rooms. The welcome is sent when the message has returned."""
        self._numbers += 1
        member = self._here[self._numbers] = ReplicatedMember(self, self._numbers, receiver, host)
        self._topic.publish(encoded("enter", member.number, host), must=True)
        return member

    # for the members of this process

    def finish(self, member: ReplicatedMember) -> None:
        """Remove a member when the results of its earlier messages have arrived."""
        self._topic.publish(encoded("leave", member.number), must=True)

    def leave(self, member: ReplicatedMember) -> None:
        """Remove a member. Nothing more is sent to it."""
        del self._here[member.number]
        if (ours := self._members.get((self._node, member.number))) is not None:
            ours.room.mute(ours)
        self.finish(member)

    def send(self, member: ReplicatedMember, change: str, *arguments: Any) -> bool:
        """Publish a change, or notify the member that it is not sent."""
        if self._topic.publish(encoded(change, member.number, *arguments)):
            member.pending += self._node != 0  # alone, it has been applied already
            return True
        member.receiver.put(line(BUSY))
        return False

    def show(self, member: ReplicatedMember, change: str, *arguments: Any) -> None:
        """Show a member the names of the replica here; after the messages of that member that have not returned."""
        key = (self._node, member.number)
        if member.pending or key not in self._members:
            self.send(member, change, *arguments)
        else:
            CHANGES[change](self, key, self._members[key], *arguments)

    def send_line(self, member: ReplicatedMember, change: str, text: str) -> int:
        """Publish a line for a room. Returns its cost in this process."""
        ours = self._members.get((self._node, member.number))
        try:
            if ours is not None:
                ours.room.take()
        except Unheard as why:
            member.receiver.put(line(f"-- {why}"))
            return 0
        sent = self.send(member, change, text, ours is not None)
        return len(ours.room.hearers) // HEARERS if sent and ours is not None else 0

    def send_message(self, member: ReplicatedMember, to: str, text: str) -> None:
        """Publish a text for one member. An unknown name may be one that messages on their way make known."""
        taken = False
        try:
            self._server.called(to).take_message()
            taken = True
        except Unheard as why:
            if self._server.has(to) or not member.pending:
                member.receiver.put(line(f"-- {why}"))
                return
        self.send(member, "message", to, text, taken)

    # as Replica

    def received(self, node: int, message: bytes) -> int:
        """As Replica."""
        change, number, *arguments = decoded(message)
        if change == "limits":
            self._server.reconfigure(*numbers(*arguments))
            return 1
        key = (node, number)
        if change == "enter":
            return self._enter(key, *arguments)
        if node == self._node and (ours := self._here.get(number)) is not None and ours.pending:
            ours.pending -= 1
        member = self._members.get(key)
        cost = 1 if member is None else CHANGES[change](self, key, member, *arguments)  # None: it has left
        if change == "leave" and node == self._node and (ours := self._here.get(number)) and ours.done:
            del self._here[number]
            ours.done()
        return cost

    def left(self, node: int) -> None:
        """As Replica: the members of a process that has ended leave."""
        for key in [key for key in self._members if key[0] == node]:
            self._leave(key, self._members[key])

    def together(self, connected: bool) -> None:
        """As Replica: notify the members of this process."""
        notice = line(AGAIN if connected else APART)
        for member in self._here.values():
            member.receiver.put(notice)

    def state(self) -> Iterator[bytes]:
        """As Replica."""
        server, keys = self._server, {member: key for key, member in self._members.items()}
        yield encoded("limits", *server.limits, server.guests)
        for room in server.all_rooms():
            yield encoded("room", room.name, room.host)
            history = [data.decode("utf-8", "surrogateescape") for data in room.history]
            for at in range(0, len(history), LINES):
                yield encoded("lines", history[at : at + LINES])
            members = [(*keys[one], one.nick, one.host) for one in room.members if isinstance(one, LocalMember)]
            for at in range(0, len(members), MEMBERS):
                yield encoded("members", members[at : at + MEMBERS])

    def restored(self, node: int, parts: Iterable[bytes] | None, lost: int) -> None:
        """As Replica. The members of this process keep their names and rooms, if these are free."""
        before = {number: self._members.get((self._node, number)) for number in self._here}
        if parts is None:
            self._continue_alone(node)
        else:
            self._replace(node, parts)
        for number, member in list(self._here.items()):
            member.pending = 0
            if member.done:
                self.finish(member)  # the first message may be lost
            elif (node, number) not in self._members:
                was = before[number]
                again = () if was is None else (was.nick, was.room.name)
                self._topic.publish(encoded("enter", number, member.host, *again), must=True)
            if lost:
                are = "line is" if lost == 1 else "lines are"
                member.receiver.put(line(f"-- up to {lost} {are} missing here: the daemon is too busy"))
        for key in [key for key in self._members if key[0] == node and key[1] not in self._here]:
            self._topic.publish(encoded("leave", key[1]), must=True)

    def _continue_alone(self, node: int) -> None:
        for key in [key for key in self._members if key[0] != self._node]:
            self._leave(key, self._members[key])
        self._node = node
        self._members = {(node, number): member for (_, number), member in self._members.items()}

    def _replace(self, node: int, parts: Iterable[bytes]) -> None:
        """Forget everything, and continue with a state. A wrong one raises an exception, and changes nothing."""
        before = self._server, self._members, self._node
        self._server, self._members, self._node = ChatServer(self._context, *self._server.limits), {}, node
        try:
            self._take(parts)
        except Exception:
            self._server.close()
            self._server, self._members, self._node = before
            raise
        before[0].close()

    def _take(self, parts: Iterable[bytes]) -> None:
        """Add a state to the replica, which is empty."""
        server, room = self._server, next(iter(self._server.all_rooms()))
        for part in parts:
            what, *fields = decoded(part)
            if what == "limits":
                *limits, guests = fields
                server.close()
                server = self._server = ChatServer(self._context, *numbers(*limits))
                server.guests = int(guests)
            elif what == "room":
                found = next((one for one in server.all_rooms() if one.name == fields[0]), None)
                room = found or server.add_room(*fields)
            elif what == "lines":
                room.restore(text.encode("utf-8", "surrogateescape") for text in fields[0])
            else:
                for node, number, nick, host in fields[0]:
                    key = (node, number)
                    self._members[key] = server.add(self._receiver(key), host, nick, room)

    def _receiver(self, key: Key) -> LineReceiver:
        here = self._here.get(key[1]) if key[0] == self._node else None
        return NOWHERE if here is None else here.receiver

    # the changes: each returns its cost

    def _enter(self, key: Key, host: str, nick: str = "", room: str = "") -> int:
        if key not in self._members:  # else this process has sent it twice, because it was restored in between
            receiver, server = self._receiver(key), self._server
            again = server.enter_again(receiver, host, nick, room) if nick else server.enter(receiver, host)
            self._members[key] = again
        return 1 + len(self._members[key].room.hearers) // HEARERS

    def _say(self, key: Key, member: LocalMember, text: str, taken: bool) -> int:
        return self._add(key, member, member.saying(text), taken)

    def _act(self, key: Key, member: LocalMember, text: str, taken: bool) -> int:
        return self._add(key, member, member.acting(text), taken)

    def _add(self, key: Key, member: LocalMember, text: str, taken: bool) -> int:
        if not taken or key[0] != self._node:
            member.room.charge()
        member.room.add(member, text)
        return 1 + (len(member.room.hearers) // HEARERS if key[0] != self._node else 0)  # else its peer has paid

    def _message(self, key: Key, member: LocalMember, to: str, text: str, taken: bool) -> int:
        try:
            other = self._server.called(to)
        except Unheard as why:
            member.hear(f"-- {why}")
        else:
            if not taken or key[0] != self._node:
                other.messages.charge()
            other.hear(member.privately(text))
        return 1

    def _rename(self, key: Key, member: LocalMember, written: str) -> int:
        if written or key[0] == self._node:
            member.rename(written)
        return 1 + len(member.room.hearers) // HEARERS

    def _move(self, key: Key, member: LocalMember, written: str) -> int:
        cost = len(member.room.hearers)
        if written or key[0] == self._node:
            member.move(written)
        return 1 + (cost + len(member.room.hearers)) // HEARERS

    def _list(self, key: Key, member: LocalMember) -> int:
        if key[0] == self._node:
            member.list_members()
        return 1

    def _hear(self, key: Key, member: LocalMember, text: str) -> int:
        if key[0] == self._node:
            member.hear(text)
        return 1

    def _leave(self, key: Key, member: LocalMember) -> int:
        del self._members[key]
        self._server.leave(member)
        return 1 + len(member.room.hearers) // HEARERS


CHANGES: Final[dict[str, Callable[..., int]]] = {
    "say": ReplicatedRooms._say,
    "act": ReplicatedRooms._act,
    "message": ReplicatedRooms._message,
    "rename": ReplicatedRooms._rename,
    "move": ReplicatedRooms._move,
    "list": ReplicatedRooms._list,
    "hear": ReplicatedRooms._hear,
    "leave": ReplicatedRooms._leave,
}
"""The changes by a member, except the first: `enter`."""
