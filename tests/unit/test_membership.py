"""Membership that replies later, as that of another process would: chat, console and operators work with it."""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from echod.admin.operator_sessions import handlers_of
from echod.daemon.daemon_wide_state import LocalState, SharedState
from echod.http.messages import Request
from echod.membership import Membership
from echod.model import Context, End, Peer, Reply, Service
from echod.services.chat import Chat, ChatOptions
from echod.services.console import Console
from echod.services.in_process_membership import LocalMembership
from echod.socket_names import Inet, UnixName

TCP = Peer("tcp", Inet("127.0.0.1", 10012), Inet("127.0.0.1", 40_000))
UNIX = Peer("unix", UnixName("/run/admin"), UnixName(""))
DELAY = 0.1


class Late:
    """An object of another process: its methods, and the callbacks and receivers it was given, are called later.

    A method returns a handle at once, whose methods are called on the handle of the other process.
    """

    def __init__(self, clock: Clock, other: Callable[[], Any]) -> None:
        self._clock = clock
        self._other = other

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            made: list[Any] = []

            def perform() -> None:
                made.append(getattr(self._other(), name)(*(self._back(one) for one in given)))

            self._clock.callLater(DELAY, perform)
            return 0 if name in ("say", "act") else Late(self._clock, lambda: made[0])

        return call

    def _back(self, given: Any) -> Any:
        """The argument for the other process; `flow` is part of each delivery."""
        if hasattr(given, "flow"):
            return LateReceiver(self._clock, given)
        if callable(given):
            return lambda *results: self._clock.callLater(DELAY, given, *results)
        return given


class LateReceiver:
    """The outbox of a connection of another process."""

    def __init__(self, clock: Clock, outbox: Any) -> None:
        self._clock = clock
        self._outbox = outbox

    def put(self, line: bytes) -> None:
        self.put_all((line,))

    def put_all(self, lines: Any) -> None:
        self._clock.callLater(DELAY, self._put_all, tuple(lines))

    def _put_all(self, lines: Any) -> None:
        self._outbox.put_all(lines)
        self._outbox.flow()

    def flow(self) -> None:
        pass

    def end(self) -> None:
        self._clock.callLater(DELAY, self._outbox.end)


class LateMembership:
    """The process with the connections gets this one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._local = LocalMembership(Context(clock=clock.seconds, later=clock.callLater, wall_clock=clock.seconds))

    def rooms(self, *limits: Any) -> Any:
        return Late(self._clock, lambda: self._local.rooms(*limits))

    def queue(self, *limits: Any) -> Any:
        return Late(self._clock, lambda: self._local.queue(*limits))


class Client:
    """A connection, and the bytes that it received."""

    def __init__(self, clock: Clock, service: Service) -> None:
        self.heard, self.clock = b"", clock
        self.ended: list[End] = []
        self.session = service.session(TCP, self.take)
        self.take(self.session.opened())

    def take(self, reply: Reply) -> None:
        assert not self.ended
        self.heard += b"".join(reply.more or ())
        if reply.end is not End.NOTHING:
            self.ended.append(reply.end)
            self.session.lost()

    def send(self, data: bytes) -> None:
        self.take(self.session.received(data))

    def lines(self) -> list[str]:
        """The lines since the last call, after all calls between the processes."""
        self.clock.pump([DELAY] * 8)
        heard, self.heard = self.heard.decode().splitlines(), b""
        return heard


def context(clock: Clock, membership: Membership) -> Context:
    return Context(clock=clock.seconds, later=clock.callLater, wall_clock=clock.seconds, membership=membership)


def test_a_chat_works_with_rooms_of_another_process():
    clock = Clock()
    chat = Chat(ChatOptions(history=5), context(clock, LateMembership(clock)))
    anna = Client(clock, chat)
    assert anna.heard == b"", "the welcome arrives later"
    [welcome] = anna.lines()
    assert welcome.startswith("-- welcome: you are guest1, in lobby")
    bob = Client(clock, chat)
    bob.lines()
    anna.lines()
    anna.send(b"/nick anna\nhello\n/me waves\n/msg guest2 psst\n/join garden\n/who\n/nick -\n")
    assert bob.lines() == ["-- guest1 is now anna", "anna: hello", "* anna waves", "anna (to you): psst",
                           "-- anna has left"]  # fmt: skip
    anna_heard = anna.lines()
    assert anna_heard[:3] == ["-- you are now anna", "-- you are in garden with no other members", "-- in garden: anna"]
    assert "does not begin with a letter" in anna_heard[3]
    anna.send(b"/quit\n")
    assert anna.lines() == ["-- goodbye"], "it comes behind the replies that are still on their way"
    assert anna.ended == [End.CLOSE]
    bob.send(b"/join\n")
    assert bob.lines() == ["-- the rooms: lobby (1)"]


def test_a_console_works_with_a_queue_of_another_process():
    clock = Clock()
    console = Console(context=context(clock, LateMembership(clock)))
    client = Client(clock, console)
    client.send(b"a question\n")
    client.lines()
    handlers, answers, pieces = handlers_of(console) or {}, list[Any](), list[bytes]()
    handlers["GET"](Request("GET", "/api/console/x", {}, {}, b"", UNIX), answers.append)
    feed: Any = answers.pop().stream(lambda: pieces.extend(feed.pieces()), lambda: None)
    pieces.extend(feed.pieces())
    assert pieces == [], "the events arrive later"
    clock.pump([DELAY] * 4)
    assert [json.loads(line)["event"] for line in b"".join(pieces).splitlines()] == ["here", "said"]
    client.take(client.session.ended())
    assert client.ended == [], "it waits for the answer"
    for body, status, result in ((b'{"to": 7, "text": "x"}', 409, "client 7 is not connected"),
                                 (b'{"to": null, "text": "yes"}', 200, 1)):  # fmt: skip
        handlers["POST"](Request("POST", "/api/console/x", {}, {}, body, UNIX), answers.append)
        assert answers == []
        clock.pump([DELAY] * 4)
        answer = answers.pop()
        assert (answer.status, next(iter(json.loads(answer.body).values()))) == (status, result)
    assert client.lines() == ["yes"]
    assert client.ended == [End.CLOSE]
    feed.close()


def test_a_client_without_waiting_messages_is_closed_by_the_queue():
    clock = Clock()
    client = Client(clock, Console(context=context(clock, LateMembership(clock))))
    client.take(client.session.ended())
    assert client.ended == []
    client.lines()
    assert client.ended == [End.CLOSE]


def test_services_with_one_membership_share_rooms_and_queue():
    """As before and after a reload, or in two processes."""
    clock = Clock()
    state: SharedState = LocalState(clock.seconds, lambda _name, **_fields: None)
    shared = context(clock, state.membership("chat", Context(clock=clock.seconds, later=clock.callLater)))
    anna, bob = Client(clock, Chat(context=shared)), Client(clock, Chat(context=shared))
    anna.lines()
    bob.lines()
    bob.send(b"hello\n")
    assert anna.lines() == ["guest2: hello"]
    assert Console(context=shared).queue is Console(context=shared).queue
    other = context(clock, state.membership("another", Context(clock=clock.seconds)))
    assert Chat(context=other).rooms is not Chat(context=shared).rooms
