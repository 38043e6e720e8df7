"""The rooms and names of one chat, for the members of one process. Its interface is `echod.membership.Rooms`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from echod.membership import LineReceiver
from echod.model import Context
from echod.services import nicks
from echod.services.nicks import WrongName
from echod.services.rooms import NAMED, ROOM_BURST, Member, Room, Unheard, listed
from echod.services.token_bucket import TokenBucket

LOBBY: Final = "lobby"  #: the room of new members
HEARERS: Final = 8  #: members for whom queueing a line counts as one unit of work
WELCOMED: Final = 10  #: names in the welcome; /who lists more


class LocalMember(Member):
    """A member of a ChatServer. As `RoomMember`: results and refusals are sent to its receiver."""

    def __init__(self, server: ChatServer, nick: str, room: Room, receiver: LineReceiver, host: str) -> None:
        super().__init__(nick, room, receiver, host)
        self._server = server

    def say(self, text: str) -> int:
        """As RoomMember."""
        return self._send(f"{self.nick}: {text}")

    def act(self, text: str) -> int:
        """As RoomMember."""
        return self._send(f"* {self.nick} {text}")

    def message(self, to: str, text: str) -> None:
        """As RoomMember."""
        self._try(self._server.message, to, f"{self.nick} (to you): {text}")

    def rename(self, written: str) -> None:
        """As RoomMember."""
        if not written:
            self.hear(f"-- you are {self.nick}; /nick NAME changes it")
        elif self._try(self._server.rename, self, written):
            self.hear(f"-- you are now {self.nick}")

    def move(self, written: str) -> None:
        """As RoomMember."""
        if not written:
            self.hear(f"-- the rooms: {self._server.rooms()}")
        elif self._try(self._server.move, self, written):
            self.hear(f"-- you are in {self.room.name} with {self.room.names(self)}")
            self.room.show_history(self)

    def list_members(self) -> None:
        """As RoomMember."""
        self.hear(f"-- in {self.room.name}: {self.room.names()}")

    def leave(self) -> None:
        """As RoomMember."""
        self._server.leave(self)

    def _send(self, text: str) -> int:
        return len(self.room.members) // HEARERS if self._try(self.room.say, self, text) else 0

    def _try(self, action: Callable[..., None], *given: object) -> bool:
        """Perform an action; if it is refused, send the reason to the member, and return False."""
        try:
            action(*given)
        except (Unheard, WrongName) as why:
            self.hear(f"-- {why}")
            return False
        return True


class ChatServer:
    """The rooms of one chat. A room exists while it has members; the lobby always exists. As `Rooms`."""

    def __init__(self, context: Context, history: int, rooms: int, room_rate: float) -> None:
        self._context = context
        self._history, self._most, self._room_rate = history, rooms, room_rate
        self._guests = 0
        lobby = Room(context, LOBBY, history, room_rate)
        self._rooms = {nicks.key(LOBBY): lobby}
        self._lookalike_keys = {lobby.lookalike_key: lobby}
        self._made_by: Counter[str] = Counter()  # number of rooms, by the host of the member that created them
        self._named: dict[str, LocalMember] = {}  # by the key of the nick
        self._seen: dict[str, LocalMember] = {}  # by the look of the nick

    def reconfigure(self, history: int, rooms: int, room_rate: float) -> None:
        """Change the limits; rooms above a lower maximum stay open."""
        self._history, self._most, self._room_rate = history, rooms, room_rate
        for room in self._rooms.values():
            room.reconfigure(history, room_rate)
        for member in self._named.values():
            self._limit_messages(member)

    def enter(self, receiver: LineReceiver, host: str) -> LocalMember:
        """As Rooms: add a member as a guest in the lobby."""
        nick = self._guest()
        room = self._rooms[nicks.key(LOBBY)]
        member = LocalMember(self, nick, room, receiver, host)
        self._limit_messages(member)
        self._name(member, nick)
        room.members[member] = None
        room.news("joined", member, f"{nick} has joined")
        others = room.names(member, WELCOMED)
        member.hear(f"-- welcome: you are {nick}, in {room.name} with {others}; /help lists the commands")
        room.show_history(member)
        return member

    def _limit_messages(self, member: LocalMember) -> None:
        """A member is sent no more lines by others alone than a room takes."""
        member.messages = TokenBucket(self._room_rate, self._room_rate * ROOM_BURST, self._context.clock)

    def leave(self, member: LocalMember) -> None:
        """Remove a member."""
        self._unname(member)
        self._out(member)

    def rename(self, member: LocalMember, written: str) -> None:
        """Change the nick of a member. Raises WrongName or Unheard."""
        nick = nicks.name(written)
        for other in (self._named.get(nicks.key(nick)), self._seen.get(nicks.lookalike_key(nick))):
            if other is not None and other is not member:
                like = "" if nicks.key(other.nick) == nicks.key(nick) else f": it looks like {other.nick}"
                raise Unheard(f"the name {nick} is taken{like}")
        before = member.nick
        self._unname(member)
        self._name(member, nick)
        if before != nick:
            member.room.news("renamed", member, f"{before} is now {nick}")

    def move(self, member: Member, written: str) -> None:
        """Move a member to a room, which is created if it does not exist. Raises WrongName or Unheard."""
        name = nicks.name(written.removeprefix("#"))
        room = self._rooms.get(nicks.key(name))
        if room is member.room:
            raise Unheard(f"you are in {room.name} already")
        if room is None:
            if len(self._rooms) >= self._most:
                raise Unheard(f"the maximum of {self._most} rooms is reached; /join without a name lists them")
            if like := self._lookalike_keys.get(nicks.lookalike_key(name)):
                raise Unheard(f"the name {name} is taken: it looks like {like.name}")
            if self._made_by[member.host] >= self._most - len(self._rooms):
                raise Unheard(f"your host has created {self._made_by[member.host]} rooms; the rest is for other hosts")
            room = Room(self._context, name, self._history, self._room_rate, member.host)
            self._made_by[member.host] += 1
            self._rooms[nicks.key(name)] = self._lookalike_keys[room.lookalike_key] = room
        self._out(member)
        member.room = room
        room.members[member] = None
        room.news("joined", member, f"{member.nick} has joined")

    def called(self, written: str) -> LocalMember:
        """The member with this nick, in any case and normalization. Raises Unheard."""
        member = self._named.get(nicks.key(written))
        if member is None:
            raise Unheard(f"unknown name {nicks.cited(written)}")
        return member

    def rooms(self) -> str:
        """The names of the rooms, each with its number of members."""
        rooms = (f"{room.name} ({len(room.members)})" for room in self._rooms.values())
        return listed(rooms, NAMED, len(self._rooms))

    def message(self, written: str, text: str) -> None:
        """Send a text to the member of this nick alone. Raises Unheard."""
        member = self.called(written)
        if not member.messages.take():
            rate = member.messages.per_second
            raise Unheard(f"not sent: more than {rate:g} lines a second to {member.nick}")
        member.hear(text)

    def _out(self, member: Member) -> None:
        room = member.room
        del room.members[member]
        if room.members or room.name == LOBBY:
            room.news("left", member, f"{member.nick} has left")
        else:
            del self._rooms[nicks.key(room.name)], self._lookalike_keys[room.lookalike_key]
            room.close()
            self._made_by[room.host] -= 1
            self._made_by += Counter()  # forgets hosts without a room

    def _guest(self) -> str:
        while True:
            self._guests += 1
            nick = f"guest{self._guests}"
            if nicks.key(nick) not in self._named and nicks.lookalike_key(nick) not in self._seen:
                return nick

    def _name(self, member: LocalMember, nick: str) -> None:
        member.nick = nick
        self._named[nicks.key(nick)] = self._seen[nicks.lookalike_key(nick)] = member

    def _unname(self, member: LocalMember) -> None:
        del self._named[nicks.key(member.nick)], self._seen[nicks.lookalike_key(member.nick)]
