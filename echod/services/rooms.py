"""The rooms of a chat and their members. A line is sent to the other members of a room, without waiting for any.

Pure: a member is an outbox, not a socket. Lines of the service itself begin with `--`, which names cannot.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Final

from echod.model import Context, Say
from echod.services import nicks
from echod.services.nicks import WrongName
from echod.services.outbox import CAPS, OVERHEAD, ReplyOutbox
from echod.services.pace import Pace

LOBBY: Final = "lobby"  #: the room of new members
NAMED: Final = 100  #: maximum names in one list; the others are counted
NEWS: Final = (5, 20)  #: notices of joins, leaves and new names: a second, and burst
ROOM_BURST: Final = 2  #: burst, as a multiple of a room's rate: each line is work for every member
DELIVERY: Final = 4  #: units of work of a delivery to one member: a system call
HEARERS: Final = 8  #: members for whom queueing a line counts as one unit of work
SUMMARY: Final = 1.0  #: seconds after which further notices are sent as counts


class Unheard(Exception):
    """A line or command is refused; the message gives the reason and is safe to print."""


def line(text: str) -> bytes:
    """The bytes of a line for members. The text must be escaped."""
    return f"{text}\n".encode("utf-8", "backslashreplace")


class Member:
    """A member of a room. `nick` is its name."""

    def __init__(self, hall: ChatServer, nick: str, room: Room, outbox: ReplyOutbox, host: str) -> None:
        self.hall = hall
        self.host = host  # what it shares with other clients, `Peer.share`
        self.nick = nick
        self.room = room
        self.outbox = outbox
        self.messages: Pace  # of those that members send to it alone

    def hear(self, text: str) -> None:
        """Send a line to this member only."""
        self.put_all((line(text),))

    def put_all(self, lines: Collection[bytes]) -> None:
        """Add lines for this member; they are sent soon."""
        self.outbox.put_all(lines)
        self.hall.waiting[self] = None
        self.hall.soon()


class Room:
    """The members of a room and its recent lines. `rate` is the maximum of lines a second; 0 means unlimited."""

    def __init__(self, hall: ChatServer, name: str, history: int, rate: float, host: str = "") -> None:
        self.name = name
        self.host = host  # of the member that created it
        self.look = nicks.look(name)
        self.members: dict[Member, None] = {}  # in the order of joining
        self.history: deque[bytes] = deque()
        self._bytes = 0  # of the history
        self._hall = hall
        self._news = Pace(*NEWS, hall.context.clock)
        self.reconfigure(history, rate)
        self._untold = {"joined": 0, "left": 0, "renamed": 0}

    def say(self, member: Member, text: str) -> None:
        """Send a line of a member to the others, and add it to the history. Raises Unheard above the room's rate."""
        if not self._pace.take():
            raise Unheard(f"not sent: more than {self._pace.per_second:g} lines a second in {self.name}")
        data = line(text)
        if self._most:
            self.history.append(data)
            self._remember(len(data) + OVERHEAD)
            self._forget()
        self._tell(data, member)

    def reconfigure(self, history: int, rate: float) -> None:
        """Set the maximum of `history` lines, of at most as many bytes as an outbox holds, and of lines a second."""
        self._most = history
        self._pace = Pace(rate, rate * ROOM_BURST, self._hall.context.clock)
        self._forget()

    def _forget(self) -> None:
        cap = CAPS[self._hall.context.send_budget.pressure]
        while self.history and (len(self.history) > self._most or self._bytes > cap):
            self._remember(-len(self.history.popleft()) - OVERHEAD)

    def _remember(self, size: int) -> None:
        """Change the size of the history, which counts in the send budget."""
        self._bytes += size
        self._hall.context.send_budget.change(size)

    def close(self) -> None:
        """Release the history after the last member has left."""
        self.history.clear()
        self._remember(-self._bytes)

    def tell(self, text: str, but: Member | None = None) -> None:
        """Send a line of the service to the members, except one."""
        self._tell(line(f"-- {text}"), but)

    def news(self, kind: str, member: Member, text: str) -> None:
        """Send a notice that a member has `joined`, `left` or been `renamed`. Above NEWS only counts are sent."""
        if not any(self._untold.values()):
            if self._news.take():
                self.tell(text, member)
                return
            self._hall.context.later(SUMMARY, self._tell_news)
        self._untold[kind] += 1

    def names(self, but: Member | None = None, most: int = NAMED) -> str:
        """The names of the members, in the order of joining."""
        nicks = (member.nick for member in self.members if member is not but)
        return listed(nicks, most, len(self.members) - (but in self.members))

    def _tell_news(self) -> None:
        joined, left, renamed = self._untold.values()
        self._untold = dict.fromkeys(self._untold, 0)
        also = f", {renamed} names have changed" if renamed else ""
        self.tell(f"{joined} more have joined, {left} have left{also}")

    def _tell(self, data: bytes, but: Member | None) -> None:
        waiting = self._hall.waiting
        for member in list(self.members):  # a member that stays behind may be removed by `put`
            if member is not but:
                member.outbox.put(data)
                waiting[member] = None
        self._hall.soon()


class ChatServer:
    """The rooms of one chat. A room exists while it has members; the lobby always exists.

    `missed` returns the line that replaces dropped lines. Lines are delivered by `context.later`, so that all lines of
    a turn are sent together, and a delivery costs less under load.
    """

    def __init__(
        self, context: Context, missed: Callable[[int], bytes], *, history: int, rooms: int, room_rate: float
    ) -> None:
        self.context = context
        self.waiting: dict[Member, None] = {}
        self._missed = missed
        self._history = history
        self._most = rooms
        self._room_rate = room_rate
        self._guests = 0
        lobby = Room(self, LOBBY, history, room_rate)
        self._rooms = {nicks.key(LOBBY): lobby}
        self._looks = {lobby.look: lobby}
        self._made_by: Counter[str] = Counter()  # number of rooms, by the host of the member that created them
        self._named: dict[str, Member] = {}  # by the key of the nick
        self._seen: dict[str, Member] = {}  # by the look of the nick
        self._scheduled = False

    def reconfigure(self, history: int, rooms: int, room_rate: float) -> None:
        """Change the limits; rooms above a lower maximum stay open."""
        self._history, self._most, self._room_rate = history, rooms, room_rate
        for room in self._rooms.values():
            room.reconfigure(history, room_rate)
        for member in self._named.values():
            self._limit_messages(member)

    def enter(self, say: Say, *, joined: bool, host: str = "") -> Member:
        """Add a member of a host, as a guest, in the lobby. `joined` says whether lines may be handed over together."""
        nick = self._guest()
        room = self._rooms[nicks.key(LOBBY)]
        member = Member(self, nick, room, ReplyOutbox(self.context, say, self._missed, joined=joined), host)
        self._limit_messages(member)
        self._name(member, nick)
        room.members[member] = None
        room.news("joined", member, f"{member.nick} has joined")
        return member

    def _limit_messages(self, member: Member) -> None:
        """A member is sent no more lines by others alone than a room takes."""
        member.messages = Pace(self._room_rate, self._room_rate * ROOM_BURST, self.context.clock)

    def leave(self, member: Member) -> None:
        """Remove a member."""
        self._unname(member)
        self.waiting.pop(member, None)
        self._out(member)

    def rename(self, member: Member, written: str) -> None:
        """Change the nick of a member. Raises WrongName or Unheard."""
        nick = nicks.name(written)
        for other in (self._named.get(nicks.key(nick)), self._seen.get(nicks.look(nick))):
            if other is not None and other is not member:
                like = "" if nicks.key(other.nick) == nicks.key(nick) else f": it looks like {other.nick}"
                raise Unheard(f"the name {nick} is taken{like}")
        before = member.nick
        self._unname(member)
        self._name(member, nick)
        if before != nick:
            member.room.news("renamed", member, f"{before} is now {nick}")

    def move(self, member: Member, written: str) -> Room:
        """Move a member to a room, which is created if it does not exist. Raises WrongName or Unheard."""
        name = nicks.name(written.removeprefix("#"))
        room = self._rooms.get(nicks.key(name))
        if room is member.room:
            raise Unheard(f"you are in {room.name} already")
        if room is None:
            if len(self._rooms) >= self._most:
                raise Unheard(f"the maximum of {self._most} rooms is reached; /join without a name lists them")
            if like := self._looks.get(nicks.look(name)):
                raise Unheard(f"the name {name} is taken: it looks like {like.name}")
            if self._made_by[member.host] >= self._most - len(self._rooms):
                raise Unheard(
                    f"your host has created {self._made_by[member.host]} rooms; the others are for other hosts"
                )
            room = Room(self, name, self._history, self._room_rate, member.host)
            self._made_by[member.host] += 1
            self._rooms[nicks.key(name)] = self._looks[room.look] = room
        self._out(member)
        member.room = room
        room.members[member] = None
        room.news("joined", member, f"{member.nick} has joined")
        return room

    def called(self, written: str) -> Member:
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

    def soon(self) -> None:
        """Schedule the delivery of queued lines."""
        if not self._scheduled and self.waiting:
            self._scheduled = True
            self.context.later(0, self._deliver)

    def _deliver(self) -> None:
        """Send queued lines to as many members as the work budget allows in this turn."""
        portion = self.context.work.portion(whole=True)
        while self.waiting and portion.take():
            portion.spend(DELIVERY - 1)
            member = next(iter(self.waiting))
            del self.waiting[member]
            member.outbox.flow()
        self._scheduled = bool(self.waiting)
        if self._scheduled:
            self.context.work.wait(self._deliver)

    def _out(self, member: Member) -> None:
        room = member.room
        del room.members[member]
        if room.members or room.name == LOBBY:
            room.news("left", member, f"{member.nick} has left")
        else:
            del self._rooms[nicks.key(room.name)], self._looks[room.look]
            room.close()
            self._made_by[room.host] -= 1
            self._made_by += Counter()  # forgets hosts without a room

    def _guest(self) -> str:
        while True:
            self._guests += 1
            nick = f"guest{self._guests}"
            if nicks.key(nick) not in self._named and nicks.look(nick) not in self._seen:
                return nick

    def _name(self, member: Member, nick: str) -> None:
        member.nick = nick
        self._named[nicks.key(nick)] = self._seen[nicks.look(nick)] = member

    def _unname(self, member: Member) -> None:
        del self._named[nicks.key(member.nick)], self._seen[nicks.look(member.nick)]


def listed(names: Iterable[str], most: int, count: int) -> str:
    """At most `most` of `count` names with commas between them, and the number of the others.

    Without names it is `no other members`. Only `most` names are taken from the iterator, which bounds the cost.
    """
    more = f" and {count - most} more" if count > most else ""
    return (", ".join(islice(names, most)) + more) or "no other members"


__all__ = ["LOBBY", "ChatServer", "Member", "Room", "Unheard", "WrongName", "line", "listed"]
