"""The rooms and names of one chat, for the members of one process. Its interface is `echod.membership.Rooms`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
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
        return self._send(self.saying(text))

    def saying(self, text: str) -> str:
        """The line for what this member says."""
        return f"{self.nick}: {text}"

    def act(self, text: str) -> int:
        """As RoomMember."""
        return self._send(self.acting(text))

    def acting(self, text: str) -> str:
        """The line for what this member does."""
        return f"* {self.nick} {text}"

    def message(self, to: str, text: str) -> None:
        """As RoomMember."""
        self._try(self._server.message, to, self.privately(text))

    def privately(self, text: str) -> str:
        """The line that another member gets for a message of this one."""
        return f"{self.nick} (to you): {text}"

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

    def finish(self, done: Callable[[], None]) -> None:
        """As RoomMember."""
        self.leave()
        done()

    def leave(self) -> None:
        """As RoomMember."""
        self._server.leave(self)

    def take_message(self) -> None:
        """Take a message to this member from its rate. Raises Unheard if none is left."""
        if not self.messages.take():
            raise Unheard(f"not sent: more than {self.messages.per_second:g} lines a second to {self.nick}")

    def _send(self, text: str) -> int:
        return len(self.room.hearers) // HEARERS if self._try(self.room.say, self, text) else 0

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
        self.guests = 0  #: the number of the last guest
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
        room = self._rooms[nicks.key(LOBBY)]
        member = self.add(receiver, host, self._guest(), room)
        room.news("joined", member, f"{member.nick} has joined")
        others = room.names(member, WELCOMED)
        member.hear(f"-- welcome: you are {member.nick}, in {room.name} with {others}; /help lists the commands")
        room.show_history(member)
        return member

    def enter_again(self, receiver: LineReceiver, host: str, nick: str, room_name: str) -> LocalMember:
        """Add a member with the name and in the room that it had. If they are taken, it is a guest, in the lobby."""
        is_free = nicks.key(nick) not in self._named and nicks.lookalike_key(nick) not in self._seen
        room = self._rooms.get(nicks.key(room_name))
        if (
            room is None
            and len(self._rooms) < self._most
            and nicks.lookalike_key(room_name) not in self._lookalike_keys
        ):
            room = self.add_room(room_name, host)
        room = room or self._rooms[nicks.key(LOBBY)]
        member = self.add(receiver, host, nick if is_free else self._guest(), room)
        room.news("joined", member, f"{member.nick} has joined")
        if (member.nick, room.name) != (nick, room_name):
            member.hear(f"-- you are now {member.nick}, in {room.name} with {room.names(member, WELCOMED)}")
        return member

    def add(self, receiver: LineReceiver, host: str, nick: str, room: Room) -> LocalMember:
        """Add a member whose name is free, without a notice."""
        member = LocalMember(self, nick, room, receiver, host)
        self._limit_messages(member)
        self._name(member, nick)
        room.join(member)
        return member

    def add_room(self, name: str, host: str) -> Room:
        """Add a room whose name is free; `host` is that of the member that created it."""
        room = Room(self._context, name, self._history, self._room_rate, host)
        self._made_by[host] += 1
        self._rooms[nicks.key(name)] = self._lookalike_keys[room.lookalike_key] = room
        return room

    def close(self) -> None:
        """Release the histories, and forget all members and rooms."""
        for room in self._rooms.values():
            room.close()

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
            room = self.add_room(name, member.host)
        self._out(member)
        member.room = room
        room.join(member)
        room.news("joined", member, f"{member.nick} has joined")

    @property
    def limits(self) -> tuple[int, int, float]:
        """The arguments of `reconfigure`."""
        return self._history, self._most, self._room_rate

    def all_rooms(self) -> Iterable[Room]:
        """The rooms, in the order of their creation: the lobby first."""
        return self._rooms.values()

    def has(self, written: str) -> bool:
        """Whether a member has this nick."""
        return nicks.key(written) in self._named

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
        member.take_message()
        member.hear(text)

    def _out(self, member: Member) -> None:
        room = member.room
        room.part(member)
        if room.members or room.name == LOBBY:
            room.news("left", member, f"{member.nick} has left")
        else:
            del self._rooms[nicks.key(room.name)], self._lookalike_keys[room.lookalike_key]
            room.close()
            self._made_by[room.host] -= 1
            self._made_by += Counter()  # forgets hosts without a room

    def _guest(self) -> str:
        while True:
            self.guests += 1
            nick = f"guest{self.guests}"
            if nicks.key(nick) not in self._named and nicks.lookalike_key(nick) not in self._seen:
                return nick

    def _name(self, member: LocalMember, nick: str) -> None:
        member.nick = nick
        self._named[nicks.key(nick)] = self._seen[nicks.lookalike_key(nick)] = member

    def _unname(self, member: LocalMember) -> None:
        del self._named[nicks.key(member.nick)], self._seen[nicks.lookalike_key(member.nick)]
