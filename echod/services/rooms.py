"""The rooms of a chat and their members. A line is sent to the other members of a room, without waiting for any.

Pure: a member is a receiver of lines, not a socket. Lines of the service itself begin with `--`, which names cannot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

from echod.membership import LineReceiver
from echod.model import Context
from echod.services import nicks
from echod.services.outbox import CAPS, OVERHEAD
from echod.services.token_bucket import TokenBucket

NAMED: Final = 100  #: maximum names in one list; the others are counted
NEWS: Final = (5, 20)  #: notices of joins, leaves and new names: a second, and burst
ROOM_BURST: Final = 2  #: burst, as a multiple of a room's rate: each line is work for every member
SUMMARY: Final = 1.0  #: seconds after which further notices are sent as counts


class Nowhere:
    """The receiver of a member whose connection belongs to another process, or has ended. As `LineReceiver`."""

    def put(self, _line: bytes) -> None:
        """As LineReceiver."""

    def put_all(self, _lines: Collection[bytes]) -> None:
        """As LineReceiver."""


NOWHERE: Final = Nowhere()


class NoClient(Nowhere):
    """The receiver of a client whose connection belongs to another process, or has ended. As `ClientReceiver`."""

    def flow(self) -> None:
        """As ClientReceiver."""

    def end(self) -> None:
        """As ClientReceiver."""


NO_CLIENT: Final = NoClient()


class Unheard(Exception):
    """A line or command is refused; the message gives the reason and is safe to print."""


def line(text: str) -> bytes:
    """The bytes of a line for members. The text must be escaped."""
    return f"{text}\n".encode("utf-8", "backslashreplace")


class Member:
    """A member of a room. `nick` is its name, and `host` what it shares with other clients."""

    def __init__(self, nick: str, room: Room, receiver: LineReceiver, host: str) -> None:
        self.host = host
        self.nick = nick
        self.room = room
        self.receiver = receiver
        self.messages: TokenBucket  # of those that members send to it alone

    def hear(self, text: str) -> None:
        """Send a line to this member only."""
        self.receiver.put(line(text))


class Room:
    """The members of a room and its recent lines. `rate` is the maximum of lines a second; 0 means unlimited."""

    def __init__(self, context: Context, name: str, history: int, rate: float, host: str = "") -> None:
        self.name = name
        self.host = host  # of the member that created it
        self.lookalike_key = nicks.lookalike_key(name)
        self.members: dict[Member, None] = {}  # in the order of joining
        self.hearers: dict[Member, None] = {}  # those whose connections belong to this process
        self.history: deque[bytes] = deque()
        self._bytes = 0  # of the history
        self._context = context
        self._news = TokenBucket(*NEWS, context.clock)
        self.reconfigure(history, rate)
        self._untold = {"joined": 0, "left": 0, "renamed": 0}

    def join(self, member: Member) -> None:
        """Add a member."""
        self.members[member] = None
        if member.receiver is not NOWHERE:
            self.hearers[member] = None

    def mute(self, member: Member) -> None:
        """Send nothing more to a member: its connection has ended."""
        member.receiver = NOWHERE
        self.hearers.pop(member, None)

    def part(self, member: Member) -> None:
        """Remove a member."""
        del self.members[member]
        self.hearers.pop(member, None)

    def say(self, member: Member, text: str) -> None:
        """Send a line of a member to the others, and add it to the history. Raises Unheard above the room's rate."""
        self.take()
        self.add(member, text)

    def take(self) -> None:
        """Take a line from the room's rate. Raises Unheard if none is left."""
        if not self._bucket.take():
            raise Unheard(f"not sent: more than {self._bucket.per_second:g} lines a second in {self.name}")

    def charge(self) -> None:
        """Take a line from the room's rate that another process has allowed."""
        self._bucket.charge()

    def add(self, member: Member, text: str) -> None:
        """As `say`, for a line that is allowed."""
        data = line(text)
        if self._most:
            self.history.append(data)
            self._remember(len(data) + OVERHEAD)
            self._forget()
        self._tell(data, member)

    def reconfigure(self, history: int, rate: float) -> None:
        """Set the maximum of `history` lines, of at most as many bytes as an outbox holds, and of lines a second."""
        self._most = history
        self._bucket = TokenBucket(rate, rate * ROOM_BURST, self._context.clock)
        self._forget()

    def _forget(self) -> None:
        cap = CAPS[self._context.send_budget.pressure]
        while self.history and (len(self.history) > self._most or self._bytes > cap):
            self._remember(-len(self.history.popleft()) - OVERHEAD)

    def _remember(self, size: int) -> None:
        """Change the size of the history, which counts in the send budget."""
        self._bytes += size
        self._context.send_budget.change(size)

    def restore(self, lines: Iterable[bytes]) -> None:
        """Add lines to the history without sending them."""
        for data in lines:
            self.history.append(data)
            self._remember(len(data) + OVERHEAD)
        self._forget()

    def close(self) -> None:
        """Release the history, and forget the members."""
        self.members.clear()
        self.hearers.clear()
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
            self._context.later(SUMMARY, self._tell_news)
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

    def show_history(self, member: Member) -> None:
        """Send the recent lines to a member."""
        if self.history:
            member.hear("-- recent lines:")
            member.receiver.put_all(self.history)

    def _tell(self, data: bytes, but: Member | None) -> None:
        for member in list(self.hearers):  # a member that stays behind may be removed by `put`
            if member is not but:
                member.receiver.put(data)


def listed(names: Iterable[str], most: int, count: int) -> str:
    """At most `most` of `count` names with commas between them, and the number of the others.

    Without names it is `no other members`. Only `most` names are taken from the iterator, which bounds the cost.
    """
    more = f" and {count - most} more" if count > most else ""
    return (", ".join(islice(names, most)) + more) or "no other members"
