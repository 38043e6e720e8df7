"""A console over HTTP: the events of a session, the answers of an operator, and refused users."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.admin.operator_sessions import handlers_of
from echod.http.messages import Request
from echod.http.session import BODY
from echod.model import Context, Peer
from echod.services.console import Console
from echod.services.outbox import BEHIND, OVERHEAD, WAITING, ReplyOutbox
from echod.socket_names import Inet, UnixName

LOCAL = Peer("unix", UnixName("/run/admin"), UnixName(""))
REMOTE = Peer("tcp", Inet("127.0.0.1", 10090), Inet("127.0.0.1", 5))


class Room:
    """The service, a client of it, and the admin interface."""

    def __init__(self):
        self.now = 0.0
        self.console = Console(context=Context(wall_clock=lambda: 1e9, clock=lambda: self.now))
        self.heard = b""
        self.session = self.console.session(REMOTE, self.take)

    def take(self, reply):
        self.heard += b"".join(reply.more or ())

    def ask(self, method="POST", body=b"", peer=LOCAL):
        """Status and body of the response, and the response itself."""
        answers = []
        handlers = handlers_of(self.console) or {}
        handlers[method](Request(method, "/api/console/front", {}, {}, body, peer), answers.append)
        [answer] = answers
        return answer.status, json.loads(answer.body or b"null"), answer


def test_each_event_is_a_line_of_json():
    room, lines = Room(), []
    room.take(room.session.received(b"waits \xff"))
    status, _, answer = room.ask("GET")
    assert status == 200
    feed = answer.stream(lambda: lines.append(b""), lambda: None)
    room.take(room.session.received(b"hello\n\x1b[2J"))
    assert len(lines) == 2, "each event wakes the response; what waited before is pulled without"
    pieces = list(feed.pieces())
    assert len(pieces) == 3, "events that wait together are sent together"
    lines = b"".join(pieces).splitlines(keepends=True)
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["here", "said", "said", "said"]
    assert [event.get("text") for event in events] == [None, "waits \udcff", "hello", "\x1b[2J"]
    assert all(line.endswith(b"\n") and line.isascii() and line.count(b"\n") == 1 for line in lines)
    feed.close()
    room.take(room.session.received(b"more"))
    assert list(feed.pieces()) == []


def test_a_slow_seat_is_notified_and_later_closed():
    room, ended = Room(), []
    feed = room.ask("GET")[2].stream(lambda: None, lambda: ended.append(True))
    queue, budget = room.console.queue, room.console.context.send_budget.budget
    client = queue.add_client("a client", "host", ReplyOutbox(Context(), room.take, lambda _: b"", joined=True))

    def answer(text):
        queue.answer(None, text, None, lambda _: None)

    pulled = feed.pieces()
    assert json.loads(next(pulled))["event"] == "here"
    next(pulled)
    while not budget.missed:
        client.ask("x" * 4000)
        answer("x" * 4000)
    assert budget.total <= WAITING + OVERHEAD
    assert json.loads(next(pulled)) == {"event": "missed", "events": budget.missed}
    room.now += BEHIND
    answer("x" * 10_000)
    answer("x" * 30_000)
    assert ended == [True]
    assert (budget.ended, budget.total) == (1, 0)
    assert json.loads(b"".join(pulled)) == {"event": "ended", "reason": "you read too slowly"}
    answer("no seat is taken")
    assert budget.total == 0


def test_pending_bytes_of_a_seat_are_released_when_it_leaves():
    room = Room()
    feed = room.ask("GET")[2].stream(lambda: None, lambda: None)
    room.take(room.session.received(b"hello"))
    budget = room.console.context.send_budget.budget
    assert budget.total > 0
    feed.close()
    assert budget.total == sys.getsizeof("hello")  # the message still waits for an answer


def test_a_seat_is_closed_with_its_service():
    room, ended = Room(), []
    room.ask("GET")[2].stream(lambda: None, lambda: ended.append(True))
    room.console.retire()
    assert ended == [True]


def test_a_reply_is_sent_to_its_client_only():
    room = Room()
    room.take(room.session.received(b"hello"))
    assert room.ask(body=b'{"to": null, "text": "hi"}')[:2] == (200, {"to": 1})
    assert room.ask(body='{"to": 1, "text": "grüß dich", "operator": 7}'.encode())[:2] == (200, {"to": 1})
    assert room.heard.decode() == "hi\ngrüß dich\n"
    assert room.ask(body=b'{"to": 9, "text": "hi"}')[:2] == (409, {"error": "client 9 is not connected"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b'{"text": 3}',
        b'{"to": "1", "text": "x"}',
        b'{"to": true, "text": "x"}',
        b'{"to": 1.5, "text": "x"}',
        b'{"to": 1, "text": "x", "more": 1}',
        b"\xff",
        b"[" * BODY,
    ],
)
def test_an_invalid_reply_is_refused_with_the_expected_form(body):
    status, said, _ = Room().ask(body=body)
    assert status == 400
    assert said["error"].startswith('an answer is JSON such as {"to": 3, "text": "hello"}')


@given(st.binary(max_size=100))
def test_every_post_gets_a_response(body):
    assert Room().ask(body=body)[0] in (400, 409)


def test_a_seat_needs_the_unix_socket_and_a_console():
    assert Room().ask("GET", peer=REMOTE)[0] == 403
    assert handlers_of(None) is None
