"""Targets whose peers receive each other's lines: a chat room, and peers that join it by datagrams."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from twisted.internet.task import Clock

from echod.gate.access import Access
from echod.gate.address_cookies import answer_to, is_challenge
from echod.gate.connections import ConnectionGate
from echod.gate.consent import VALID
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import Limits, Rate
from echod.lineedit.operator_dialogue import OperatorView
from echod.membership import Operator, OperatorEvent, Unanswerable
from echod.model import PLAIN, Context, End, Peer, Reply, Service, Session
from echod.services.chat import Chat
from echod.services.chat_server import ChatServer
from echod.services.console import Console
from echod.socket_names import Inet, inet
from echod.transports.datagram_sessions import SessionDatagrams
from tests.fuzz.answering import Bugs
from tests.fuzz.draw import Draw
from tests.fuzz.target import HERE, Attempt, Target, assert_plain, text_of

MEMBERS: Final = 4
ELSEWHERE: Final = "192.0.2.1"
HERE_TOO: Final = ("127.0.0.1", "::ffff:127.0.0.1")  #: of this machine: no other machine can use these addresses


class _Seat:
    """A stream peer that reads at random times."""

    def __init__(self, chat: Service, number: int) -> None:
        self.heard = bytearray()
        self._waiting: list[Reply] = []
        self._over = False
        self.session: Session = chat.session(Peer("tcp", HERE, Inet("127.0.0.1", 40_000 + number)), self.hear)
        self.hear(self.session.opened())

    def hear(self, reply: Reply) -> None:
        """Receive a piece."""
        self._waiting.append(reply)

    def ask(self, question: Callable[..., Reply], *given: bytes) -> None:
        """Call the session as a transport does, until it ends."""
        if not self._over:
            self.hear(question(*given))

    def read(self) -> None:
        """Read everything that waits."""
        while self._waiting:
            reply = self._waiting.pop(0)
            self.heard += reply.data or b""
            for piece in reply.more or ():
                self.heard += piece
            self._over = self._over or reply.end is not End.NOTHING


def _rooms_of(chat: Chat) -> str:
    """The rooms, each with its number of members."""
    assert isinstance(chat.rooms, ChatServer)
    return chat.rooms.rooms()


def _rooms() -> Attempt:
    bugs, clock, chance = Bugs(), Clock(), random.Random(1)

    def attempt(data: bytes) -> bool:
        draw, shown = Draw(data), list[str]()
        chat = Chat(Chat.Options(history=draw.byte() % 4, rooms=1 + draw.byte() % 3),
                    Context(clock=clock.seconds, random=chance, show=shown.append, later=clock.callLater))  # fmt: skip
        seats = [_Seat(chat, number) for number in range(MEMBERS)]
        while draw:
            seat, what = seats[draw.byte() % MEMBERS], draw.byte() % 8
            if what == 0:
                seat.read()
            elif what == 1:
                clock.advance(draw.byte() / 64)
            elif what == 2:
                seat.ask(seat.session.ended)
            else:
                seat.ask(seat.session.received, draw.piece() or b"\n")
        for seat in seats:
            seat.session.lost()
            seat.session.lost()
        clock.advance(60)
        for seat in seats:
            seat.read()
            for line in seat.heard.decode("utf-8").removesuffix("\n").split("\n") if seat.heard else ():
                assert_plain(line)
        assert (_rooms_of(chat), chat.delivery.waiting, shown) == ("lobby (0)", {}, [])
        bugs.check()
        return any(b": " in seat.heard for seat in seats)

    return attempt


def _changed(challenge: bytes, what: int, said: bytes) -> bytes:
    """The correct reply, padded; or the request, as an echo returns it; or the output of a service for it."""
    if what < 3:
        return answer_to(challenge).ljust(len(said) % 64)
    whole = (challenge, challenge.upper(), challenge[::-1], challenge[len(said) % 14 :], challenge[: len(said) % 14])
    return said[:20] + whole[len(said) % len(whole)] + said[20:40]


def _joining() -> Attempt:
    bugs = Bugs()
    access = Access([ipaddress.ip_network(net) for net in ("127.0.0.0/8", "192.0.2.0/24", "64:ff9b::/96")])
    limits = Limits(connections=8, per_client=4, rate=Rate(0, 0), idle=60)
    hosts = ("127.0.0.1", ELSEWHERE, "192.0.2.2", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "::127.0.0.1")

    def attempt(data: bytes) -> bool:
        draw, clock = Draw(data), Clock()
        chat = Chat(context=Context(clock=clock.seconds, random=random.Random(1), later=clock.callLater))
        protocol = SessionDatagrams(
            chat,
            gate=DatagramGate(access, limits, clock.seconds),
            connections=ConnectionGate(access, limits, clock.seconds),
            clock=clock,
        )
        protocol.startProtocol()
        asked: dict[tuple[str, int], list[bytes]] = {}  # the challenges that each peer received
        proved: dict[tuple[str, int], float] = {}  # the time until which it may receive more than it sends
        while draw:
            host, port, what = draw.choice(hosts), 40_000 + draw.byte() % 3, draw.byte() % 8
            said, place = draw.piece(), (host, port)
            if what == 0:
                clock.advance(len(said))
                continue
            challenges = asked.setdefault(place, [])
            if what < 4 and challenges:
                said = _changed(challenges[-1], what, said)
            right = said.strip() in {answer_to(one) for one in challenges}
            sent: list[bytes] = []
            stranger = place not in protocol.peers
            packed = ipaddress.ip_address(host).packed
            if protocol.admits(said, packed, port):
                protocol.handle(said, Peer("udp", HERE, inet(host, port)), PLAIN, packed, place, sent.append)
            assert len(protocol.peers) == protocol.counters.open <= limits.connections
            if host in HERE_TOO:  # any datagram lets it join, and it may have left again
                continue
            if stranger:
                assert right or place not in protocol.peers, "a peer without proof joined"
            elif right:  # it may be late: then it is not valid, and the limit below applies
                proved[place] = clock.seconds() + VALID
            if clock.seconds() >= proved.get(place, 0.0):
                assert sum(map(len, sent)) <= len(said), "a peer without proof received more than it sent"
            challenges.extend(one for one in sent if is_challenge(one))
        members = protocol.counters.accepted
        protocol.stopProtocol()
        clock.advance(60)
        assert not protocol.peers
        assert protocol.counters.open == 0
        assert _rooms_of(chat) == "lobby (0)"
        bugs.check()
        return members > 0

    return attempt


def _desk() -> Attempt:
    bugs, clock = Bugs(), Clock()

    def attempt(data: bytes) -> bool:
        draw, told, results = Draw(data), list[Mapping[str, Any]](), list[int | Unanswerable]()
        options = Console.Options(away="away", unanswered=1 + draw.byte() % 4, unanswered_in_all=1 + draw.byte() % 8)
        console = Console(options, Context(clock=clock.seconds, later=clock.callLater, wall_clock=clock.seconds))
        seats = [_Seat(console, number) for number in range(MEMBERS)]
        shown = list[str]()
        operating, operators, given = OperatorView(shown.append), list[Operator](), False

        def begun(_number: int, waiting: Iterator[OperatorEvent]) -> None:
            told.extend(waiting)

        def sit() -> None:
            operators.append(console.queue.add_operator(begun, told.append, lambda: None))

        while draw:
            seat, what = seats[draw.byte() % MEMBERS], draw.byte() % 8
            if what == 0:
                seat.read()
            elif what == 1:
                sit()
            elif what == 2 and operators:
                operators.pop().leave()
            elif what == 3:
                seat.ask(seat.session.ended)
            elif what == 4:
                to, words = draw.byte() % 6 or None, text_of(draw.piece())
                operating.typed(words)
                console.queue.answer(to, words, None, results.append)
                given = given or isinstance(results[-1], int)
                assert_plain(str(results[-1]))
            else:
                seat.ask(seat.session.received, draw.piece() or b"\n")
        for seat in seats:
            seat.session.lost()
            seat.read()
        sit()
        assert told[-1]["clients"] == []
        for event in told:
            operating.event(event)
        for line in (*shown, operating.prompt()):
            assert_plain(line)
        bugs.check()
        return given

    return attempt


_LINES: Final = (
    *(
        b"\n",
        b"\r\n",
        b"/nick ",
        b"/join ",
        b"/msg guest1 ",
        b"/who\n",
        b"/me ",
        b"/quit\n",
        b"/help\n",
        b"//",
        b"\xff",
    ),
    *(b"\x1b[2J", "gùest２".encode()),
)

TARGETS: Final = (
    Target("chat", "lines that are safe to print, and no member that remains", _rooms, _LINES),
    Target("console", "a client that leaves is removed, and an operator receives only events", _desk, _LINES),
    Target(
        "joining by datagrams",
        "no session for an echo, and no reply larger than its datagram without consent",
        _joining,
        _LINES,
    ),
)
