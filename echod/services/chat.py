"""Chat: rooms for members over streams and datagrams; `nc` is enough as a client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from echod.escaping import decoded, escaped
from echod.gate.work_budget import UNIT_BYTES
from echod.membership import RoomMember
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, Context, End, Peer, Reply, Say, Service, Session
from echod.services import nicks
from echod.services.in_process_membership import membership_of
from echod.services.line_buffer import HINT, LONGEST, LineHint, LineInput, Lines
from echod.services.outbox_delivery import Delivery, MemberOutbox
from echod.services.rooms import line
from echod.services.token_bucket import TokenBucket
from echod.shape import Shape

GOODBYE: Final = "-- goodbye"
BURST: Final = 10  #: burst, as a multiple of `lines-per-second`: a pasted page

HELP: Final = (
    "a line that you type is sent to the other members of your room; the commands are",
    "/nick NAME      change your name to NAME",
    "/join ROOM      move to another room; without a ROOM, list the rooms",
    "/who            list the members of the room",
    "/msg NAME TEXT  send TEXT to one member only",
    "/me TEXT        describe an action of yours",
    "/quit           leave",
    "//TEXT          a line that begins with /",
)


@dataclass(frozen=True)
class ChatOptions:
    """The keys of a chat service."""

    history: int = field(
        default=0,
        metadata={"least": 0, "most": 1000, "help": "number of recent lines shown to a new member of a room"},
    )
    rooms: int = field(default=100, metadata={"least": 1, "most": 10_000, "help": "maximum number of rooms"})
    lines_per_second: int = field(
        default=20,
        metadata={
            "least": 0,
            "most": 1_000_000,
            "help": "lines a second that a member may send, with a burst of ten times as many; 0: unlimited",
        },
    )
    room_lines_per_second: int = field(
        default=100,
        metadata={
            "least": 0,
            "most": 1_000_000,
            "help": "lines a second that all members of a room may send together, twice as many at once; 0: unlimited",
        },
    )


class Chat(Service):
    """A new member is a guest in the lobby. A line is sent to the other members of the room; a command gets a reply.

    If a member reads too slowly, its oldest lines are dropped, and it gets their number. Other members are not delayed.
    """

    kind = "chat"
    summary = "rooms in which members read each other's lines, with nc as a client"
    Options = ChatOptions
    conversational = True

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        own = self.options
        self.rooms = membership_of(self.context).rooms(own.history, own.rooms, own.room_lines_per_second)
        self.delivery = Delivery(self.context)

    def take_over_from(self, predecessor: Chat) -> None:
        """Continue with the rooms and members of the service before a reload."""
        self.rooms = predecessor.rooms
        own = self.options
        self.rooms.reconfigure(own.history, own.rooms, own.room_lines_per_second)

    def session(self, peer: Peer, say: Say) -> Session:
        return Talking(self, peer, say)


def missed(count: int) -> bytes:
    """The line that replaces `count` dropped lines."""
    return line(f"-- {count} {'line is' if count == 1 else 'lines are'} missing here: you read too slowly")


class Talking:
    """The session of one member."""

    def __init__(self, chat: Chat, peer: Peer, say: Say) -> None:
        self._chat = chat
        self._peer = peer
        self._input = LineInput(chat.context, messages=peer.keeps_messages)
        self._lines = Lines()
        self._hint = LineHint(chat.context, lambda: self._lines.has_begun, self._hear_hint)
        rate = chat.options.lines_per_second
        self._bucket = TokenBucket(rate, rate * BURST, chat.context.clock)
        self._unheard = False  # whether the member was notified that it sends too fast
        self._outbox = MemberOutbox(chat.context, say, missed, chat.delivery, joined=not peer.keeps_messages)
        self._member: RoomMember | None = None
        self._leaving = self._replying = False  # it leaves when its last results arrive; and its reply is being made

    def opened(self) -> Reply:
        """Join the lobby, which sends the welcome."""
        self._member = self._chat.rooms.enter(self._outbox, self._peer.share)
        return self._outbox.reply()

    def _hear(self, text: str) -> None:
        assert self._member is not None
        self._member.hear(text)

    def _hear_hint(self) -> None:
        if self._member is not None:
            self._hear(HINT)

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        """Process received lines. A line of a stream may arrive in parts; a datagram ends its last line."""
        if self._member is not None and not self._leaving and not self._input.add(data):
            self._hear("-- too fast: your lines are dropped until the earlier ones are processed")
        return self.proceed()

    def proceed(self) -> Reply:
        """Process as many lines as the work budget allows now."""
        if self._member is None or self._leaving:
            return NOTHING
        for piece in self._input.pieces():
            if (end := self._take(self._lines.take(piece))) is not None:
                return end
        self._hint.check()
        return self._outbox.reply()._replace(held=self._input.held)

    def ended(self) -> Reply:
        """The peer half-closed, or was removed over datagrams and gets a goodbye. A last line needs no line end."""
        if self._member is None:
            return CLOSE
        end = None if self._leaving else self._take_rest()
        if self._member is not None and self._peer.shape is Shape.DATAGRAM:  # the transport removes it at once
            self._outbox.put(line(GOODBYE))
            return self._leave()
        if end is None:
            return NOTHING if self._leaving else self._finish(goodbye=self._peer.keeps_messages)
        return end

    def lost(self) -> None:
        """The connection was lost: process the last lines, and leave."""
        if self._member is not None:
            if not self._leaving:
                self._take_rest()
            self._leave()
        self._outbox.close()
        self._input.close()

    def _take_rest(self) -> Reply | None:
        """Process the last lines. Returns the reply of a line that ends the conversation, otherwise None."""
        for piece in self._input.rest():
            if (end := self._take(self._lines.take(piece))) is not None:
                return end
        return self._take(self._lines.last())

    def _take(self, text: bytes | None) -> Reply | None:
        """Process one line; None is a line that is too long. Returns the reply if it ends the conversation."""
        member = self._member
        if member is None or (text is not None and not text.strip()):
            return None
        if not self._bucket.take():
            if not self._unheard:
                self._unheard = True
                rate = self._chat.options.lines_per_second
                self._hear(f"-- not sent: more than {rate} lines a second")
            return None
        self._unheard = False
        if text is None:
            self._hear(f"-- not sent: a line has at most {LONGEST} bytes")
            return None
        shown = nicks.visible(decoded(text.replace(b"\t", b" ").rstrip()))
        if shown.startswith("/") and not shown.startswith("//"):
            return self._command(member, text[1:].decode("utf-8", "surrogateescape"))
        self._input.spend(member.say(shown[1:] if shown.startswith("//") else shown))
        return None

    def _command(self, member: RoomMember, text: str) -> Reply | None:
        word, _, rest = text.strip().partition(" ")
        if word == "quit":
            return self._finish(goodbye=True)
        before = self._outbox.put_in_all
        if (command := COMMANDS.get(word)) is None:
            self._hear(f"-- unknown command /{escaped(word[:40])}; /help lists the commands")
        else:
            command(self, member, rest.strip())
        self._input.spend((self._outbox.put_in_all - before) // UNIT_BYTES)
        return None

    def _finish(self, *, goodbye: bool) -> Reply:
        """Leave after the results of earlier lines. If they are not all here, a later reply closes."""
        assert self._member is not None
        self._leaving = self._replying = True
        self._member.finish(partial(self._finished, goodbye))
        self._replying = False
        return self._outbox.reply()._replace(end=End.CLOSE if self._member is None else End.NOTHING)

    def _finished(self, goodbye: bool) -> None:
        self._member = None
        if goodbye:
            self._outbox.put(line(GOODBYE))
        self._chat.delivery.remove(self._outbox)
        if not self._replying:
            self._outbox.end()

    def _leave(self) -> Reply:
        member, self._member = self._member, None
        if member is None:
            return CLOSE
        member.leave()
        self._chat.delivery.remove(self._outbox)
        return self._outbox.reply()._replace(end=End.CLOSE)

    def _nick(self, member: RoomMember, rest: str) -> None:
        member.rename(rest)

    def _join(self, member: RoomMember, rest: str) -> None:
        member.move(rest)

    def _who(self, member: RoomMember, _rest: str) -> None:
        member.list_members()

    def _msg(self, member: RoomMember, rest: str) -> None:
        nick, _, text = rest.partition(" ")
        if text.strip():
            member.message(nick, _shown(text))
        else:
            self._hear("-- /msg needs a name and a text: /msg NAME TEXT")

    def _me(self, member: RoomMember, rest: str) -> None:
        if rest:
            self._input.spend(member.act(_shown(rest)))
        else:
            self._hear("-- /me needs a text: /me waves")

    def _help(self, _member: RoomMember, _rest: str) -> None:
        for text in HELP:
            self._hear(f"-- {text}")


def _shown(text: str) -> str:
    return nicks.visible(escaped(text.strip().replace("\t", " ")))


COMMANDS: Final[dict[str, Callable[[Talking, RoomMember, str], None]]] = {
    "nick": Talking._nick,
    "join": Talking._join,
    "who": Talking._who,
    "msg": Talking._msg,
    "me": Talking._me,
    "help": Talking._help,
}
"""Every command except /quit, which ends the conversation."""
