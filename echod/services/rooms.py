"""The rooms of a chat and who is in them: every line goes to everybody else in the room, and waits for nobody.

Pure: it knows members by their outboxes, and no socket. Lines that it writes itself begin with `--`; a name cannot.
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

LOBBY: Final = "lobby"  #: where everybody begins
NAMED: Final = 100  #: names in one list; the rest is counted
NEWS: Final = (5, 20)  #: arrivals, departures and new names told one by one: a second in the long run, and at once
ROOM_BURST: Final = 2  #: times what a room takes in a second, at once: each line is work for everybody who is in it
DELIVERY: Final = 4  #: units of work that a delivery to one member counts for: a system call
HEARERS: Final = 8  #: members for whom a line that is said counts as one unit of work
SUMMARY: Final = 1.0  #: seconds after which the others are told as figures


class Unheard(Exception):
    """What somebody asked for cannot be done; the message says why, and is safe to print."""


def line(text: str) -> bytes:
    """A line as members read it. The text is escaped already."""
    return f"{text}\n".encode("utf-8", "backslashreplace")


class Member:
    """Somebody in a room. `nick` is what others read."""

    def __init__(self, hall: Hall, nick: str, room: Room, outbox: ReplyOutbox, host: str) -> None:
        self.hall = hall
        self.host = host  # what it shares with other clients, `Peer.share`
        self.nick = nick
        self.room = room
        self.outbox = outbox
        self.messages: Pace  # of those that members send to it alone

    def hear(self, text: str) -> None:
        """Tell this member alone."""
        self.put_all((line(text),))

    def put_all(self, lines: Collection[bytes]) -> None:
        """Add lines for this member; they are sent soon."""
        self.outbox.put_all(lines)
        self.hall.waiting[self] = None
        self.hall.soon()


class Room:
    """Members who hear each other, and the last lines that they said; `rate` of them a second, or (0) any number."""

    def __init__(self, hall: Hall, name: str, history: int, rate: float, host: str = "") -> None:
        self.name = name
        self.host = host  # of the member that made it
        self.look = nicks.look(name)
        self.members: dict[Member, None] = {}  # in the order in which they came
        self.history: deque[bytes] = deque()
        self._bytes = 0  # of the history
        self._hall = hall
        self._news = Pace(*NEWS, hall.context.clock)
        self.govern(history, rate)
        self._untold = {"joined": 0, "left": 0, "renamed": 0}

    def say(self, member: Member, text: str) -> None:
        """What a member says, to everybody else; it is remembered. Raises Unheard where too much is said."""
        if not self._pace.take():
            raise Unheard(f"more than {self._pace.per_second:g} lines a second are said in {self.name}: not sent")
        told = line(text)
        if self._most:
            self.history.append(told)
            self._remember(len(told) + OVERHEAD)
            self._forget()
        self._tell(told, member)

    def govern(self, history: int, rate: float) -> None:
        """Keep `history` lines at most, and no more bytes of them than an outbox holds; take `rate` lines a second."""
        self._most = history
        self._pace = Pace(rate, rate * ROOM_BURST, self._hall.context.clock)
        self._forget()

    def _forget(self) -> None:
        cap = CAPS[self._hall.context.send_budget.pressure]
        while self.history and (len(self.history) > self._most or self._bytes > cap):
            self._remember(-len(self.history.popleft()) - OVERHEAD)

    def _remember(self, size: int) -> None:
        """The history has so many more bytes; they count in the send budget."""
        self._bytes += size
        self._hall.context.send_budget.change(size)

    def close(self) -> None:
        """The last member has left."""
        self.history.clear()
        self._remember(-self._bytes)

    def tell(self, text: str, but: Member | None = None) -> None:
        """What the room itself says."""
        self._tell(line(f"-- {text}"), but)

    def news(self, kind: str, member: Member, text: str) -> None:
        """What a member does that is no word: it has `joined`, `left` or been `renamed`.

        In a flood of that the others hear only how often it was.
        """
        if not any(self._untold.values()):
            if self._news.take():
                self.tell(text, member)
                return
            self._hall.context.later(SUMMARY, self._tell_news)
        self._untold[kind] += 1

    def names(self, but: Member | None = None, most: int = NAMED) -> str:
        """Who is here, in the order in which they came."""
        nicks = (member.nick for member in self.members if member is not but)
        return listed(nicks, most, len(self.members) - (but in self.members))

    def _tell_news(self) -> None:
        joined, left, renamed = self._untold.values()
        self._untold = dict.fromkeys(self._untold, 0)
        also = f", and {renamed} times somebody took another name" if renamed else ""
        self.tell(f"{joined} more have joined, and {left} have left{also}")

    def _tell(self, told: bytes, but: Member | None) -> None:
        waiting = self._hall.waiting
        for member in list(self.members):  # a reader that stays behind may leave meanwhile
            if member is not but:
                member.outbox.put(told)
                waiting[member] = None
        self._hall.soon()


class Hall:
    """Every room of one chat. A room is there for as long as somebody is in it; the lobby always is.

    `missed` says the line for who read too slowly. Deliveries are put off by `context.later`, so that all lines of a
    turn go out together: the more is said, the less a delivery costs.
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
        self._made_by: Counter[str] = Counter()  # rooms, by the host of the member that made them
        self._named: dict[str, Member] = {}  # by the key of a nick
        self._seen: dict[str, Member] = {}  # by its look
        self._scheduled = False

    def govern(self, history: int, rooms: int, room_rate: float) -> None:
        """Go by other numbers from now on; no room is closed for that."""
        self._history, self._most, self._room_rate = history, rooms, room_rate
        for room in self._rooms.values():
            room.govern(history, room_rate)
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
        """Somebody has gone."""
        self._unname(member)
        self.waiting.pop(member, None)
        self._out(member)

    def rename(self, member: Member, written: str) -> None:
        """Another nick. Raises WrongName or Unheard."""
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
        """To another room, which is made if there is none. Raises WrongName or Unheard."""
        name = nicks.name(written.removeprefix("#"))
        room = self._rooms.get(nicks.key(name))
        if room is member.room:
            raise Unheard(f"you are in {room.name} already")
        if room is None:
            if len(self._rooms) >= self._most:
                raise Unheard(f"there are {self._most} rooms already; /join without a name lists them")
            if like := self._looks.get(nicks.look(name)):
                raise Unheard(f"the name {name} is taken: it looks like {like.name}")
            if self._made_by[member.host] >= self._most - len(self._rooms):
                raise Unheard(f"your host has made {self._made_by[member.host]} rooms: the others are for other hosts")
            room = Room(self, name, self._history, self._room_rate, member.host)
            self._made_by[member.host] += 1
            self._rooms[nicks.key(name)] = self._looks[room.look] = room
        self._out(member)
        member.room = room
        room.members[member] = None
        room.news("joined", member, f"{member.nick} has joined")
        return room

    def called(self, written: str) -> Member:
        """Who has this nick, in any form of writing. Raises Unheard."""
        member = self._named.get(nicks.key(written))
        if member is None:
            raise Unheard(f"nobody is called {nicks.cited(written)}")
        return member

    def rooms(self) -> str:
        """Every room, and how many are in it."""
        rooms = (f"{room.name} ({len(room.members)})" for room in self._rooms.values())
        return listed(rooms, NAMED, len(self._rooms))

    def message(self, written: str, text: str) -> None:
        """Send a text to the member of this nick alone. Raises Unheard."""
        member = self.called(written)
        if not member.messages.take():
            rate = member.messages.per_second
            raise Unheard(f"more than {rate:g} lines a second are sent to {member.nick}: not sent")
        member.hear(text)

    def soon(self) -> None:
        """Let go out what waits, in a moment."""
        if not self._scheduled and self.waiting:
            self._scheduled = True
            self.context.later(0, self._deliver)

    def _deliver(self) -> None:
        """Send what waits, to as many members as the work budget allows in this turn."""
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
    """The first of `count` names with commas between them, and how many there are besides; `nobody` for none.

    No more than `most` are asked for: a crowd costs no more than that.
    """
    more = f" and {count - most} more" if count > most else ""
    return (", ".join(islice(names, most)) + more) or "nobody"


__all__ = ["LOBBY", "Hall", "Member", "Room", "Unheard", "WrongName", "line", "listed"]
