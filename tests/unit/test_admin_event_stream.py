"""The events as a resource: its queries, its stream, and what a slow client gets."""

import json

import pytest

from echod.admin.event_stream import WATCHERS, event_handlers, wanted
from echod.admin.live_status import LiveStatus
from echod.event_catalogue import Severity, matching
from echod.http.messages import Request
from echod.model import Context, Peer
from echod.services.outbox import BEHIND, PIECE, WAITING
from echod.socket_names import Inet, UnixName
from echod.telemetry.recent_events import RecentEvents, Selection

LOCAL = Peer("unix", UnixName("/run/admin"), UnixName(""), user=0)
REMOTE = Peer("tcp", Inet("127.0.0.1", 10090), Inet("127.0.0.1", 5))


class Viewed:
    """A daemon with a short status."""

    def gather(self, _connections, done):
        done()

    def flush_counters(self):
        return iter(())

    def status(self):
        return {"version": "1", "services": iter(())}


class Stream:
    """One client of a daemon's events, which reads when `read` is called."""

    def __init__(self, recent, query="", peer=LOCAL, headers=(), context=None):
        self.answers, self.wakes, self.ended = [], 0, False
        context = context or Context()
        handlers = event_handlers(
            recent, context, LiveStatus(Viewed(), Context(later=lambda *_: None)), {"echo"}.__contains__
        )
        request = Request("GET", "/api/events", {}, dict(headers), b"", peer, query)
        handlers["GET"](request, self.answers.append)
        [self.answer] = self.answers
        if self.answer.stream is not None:
            self.feed = self.answer.stream(self.wake, self.end)
            self.pieces = self.feed.pieces()

    def wake(self):
        self.wakes += 1

    def end(self):
        self.ended = True

    def read(self):
        """The messages of what is available, as pairs of type and data."""
        text = b"".join(self.pieces).decode()
        self.pieces = self.feed.pieces()
        assert text.endswith("\n\n") or not text
        found = []
        for message in text.split("\n\n")[:-1]:
            lines = dict(line.split(": ", 1) for line in message.split("\n"))
            found.append((lines.get("event", ""), json.loads(lines["data"])))
        return found


def made():
    return RecentEvents(lambda _on: None, lambda: 0.0)


def ready(recent, number=1):
    recent.event("daemon.ready", {"listeners": number})


def test_a_stream_begins_with_the_kept_events_and_continues():
    recent = made()
    ready(recent, 1)
    stream = Stream(recent)
    ready(recent, 2)
    assert [data["listeners"] for _, data in stream.read()] == [1, 2]
    assert stream.wakes == 1
    ready(recent, 3)
    assert [data["listeners"] for _, data in stream.read()] == [3]
    assert stream.answer.content_type == "text/event-stream"
    stream.feed.close()
    ready(recent, 4)
    assert stream.read() == []
    assert not stream.ended


def test_a_stream_with_the_status_has_both():
    recent = made()
    ready(recent, 1)
    stream = Stream(recent, "status=yes")
    assert stream.read() == [
        ("", {**json.loads(recent.select(Selection())[0].data)}),
        ("status", {"version": "1", "services": []}),
    ]
    stream.feed._status.renew()
    assert next(stream.pieces).startswith(b"event: ")
    ready(recent, 2)  # while the client reads the status: this wakes nothing
    assert next(stream.pieces).startswith(b"id: ")
    assert next(stream.pieces, None) is None
    stream.feed.close()


def test_a_stream_without_follow_ends():
    recent = made()
    ready(recent)
    stream = Stream(recent, "follow=no")
    assert stream.ended
    ready(recent)
    assert len(stream.read()) == 1


def test_a_browser_that_connects_again_continues_after_its_last_event():
    recent = made()
    for number in range(3):
        ready(recent, number)
    second = recent.select(Selection())[1].identifier
    assert [data["listeners"] for _, data in Stream(recent, headers={"last-event-id": second}).read()] == [2]


def test_a_slow_client_gets_the_number_of_dropped_events_in_their_place():
    context, recent = Context(), made()
    stream = Stream(recent, context=context)
    error = "x" * 1_000
    sent = 3 * WAITING // len(error)
    for _ in range(sent):
        recent.event("daemon.refused", {"errors": error})
    assert context.send_budget.budget.total <= WAITING
    [(kind, dropped), *rest] = stream.read()
    assert (kind, set(dropped)) == ("dropped", {"dropped"})
    assert dropped["dropped"] + len(rest) == sent
    assert context.send_budget.budget.missed == dropped["dropped"]
    assert context.send_budget.budget.total == 0


def test_a_client_that_never_catches_up_is_ended():
    now = [0.0]
    context, recent = Context(clock=lambda: now[0]), made()
    stream = Stream(recent, context=context)
    for _ in range(3):
        for _ in range(2 * WAITING // 1_000):
            recent.event("daemon.refused", {"errors": "x" * 1_000})
        now[0] += BEHIND
    assert stream.ended
    assert stream.read() == []


def test_events_of_single_connections_are_for_the_unix_socket_only():
    watched = []
    recent = RecentEvents(watched.append, lambda: 0.0)
    refused = Stream(recent, "severity=debug", peer=REMOTE)
    assert refused.answer.status == 403
    assert watched == []
    stream = Stream(recent, "severity=debug")
    assert watched == [True]
    stream.feed.close()
    assert watched == [True, False]
    assert Stream(recent, "severity=info", peer=REMOTE).answer.status == 200


def test_streams_of_single_connections_are_few():
    recent = made()
    streams = [Stream(recent, "severity=debug") for _ in range(WATCHERS)]
    assert {stream.answer.status for stream in streams} == {200}
    assert Stream(recent, "severity=debug").answer.status == 503
    assert Stream(recent, "severity=debug&follow=no").answer.status == 200
    assert Stream(recent).answer.status == 200
    streams[0].feed.close()
    assert Stream(recent, "severity=debug").answer.status == 200


def test_kept_events_are_sent_in_few_pieces():
    recent = made()
    for number in range(1_000):
        ready(recent, number)
    pieces = list(Stream(recent, "follow=no").pieces)
    assert b"".join(pieces).count(b"data: ") == 1_000
    assert len(pieces) <= 12
    assert max(map(len, pieces)) < 2 * PIECE


def test_every_parameter_is_used():
    asked = "name=daemon.*&name=worker.ended&service=echo&severity=warn&since=1.5&follow=no"
    names = matching(["daemon.*", "worker.ended"])
    assert wanted(asked) == (Selection(names, "echo", Severity.WARN), 1.5, False, False)
    assert wanted("status=yes") == (Selection(), None, True, True)
    assert wanted("") == (Selection(), None, True, False)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("nmae=x", "nmae is not a parameter; the parameters are name, service, severity, since, follow, status"),
        ("name=echo", "name=echo matches no event"),
        ("name=", "name= matches no event"),
        ("severity=WARN", "severity=WARN is not valid: expected debug, info, warn, error"),
        ("severity=%1b[2J", r"severity=\x1b[2J is not valid: expected debug, info, warn, error"),
        ("since=-1", "since=-1 is not valid: expected a number of seconds"),
        ("since=nan", "since=nan is not valid: expected a number of seconds"),
        ("follow=", "follow= is not valid: expected yes or no"),
        ("status=1", "status=1 is not valid: expected yes or no"),
        ("status=yes&follow=no", "status=yes needs a stream that follows"),
        ("follow=no&follow=yes", "follow is given 2 times: expected once"),
        ("name=daemon.*&" * 33, "name is given 33 times: expected at most 32"),
    ],
)
def test_a_wrong_parameter_is_one_clear_line(query, error):
    answer = Stream(made(), query).answer
    assert (answer.status, json.loads(answer.body)) == (400, {"error": error})


def test_an_unknown_service_is_one_clear_line():
    recent = made()
    answer = Stream(recent, "service=%1b[2J").answer
    error = r"service=\x1b[2J is not a service of this daemon"
    assert (answer.status, json.loads(answer.body)) == (400, {"error": error})
    assert Stream(recent, "service=old").answer.status == 400
    assert Stream(recent, "service=echo").read() == []
    recent.event("handshake.failed", {"service": "old", "address": "unix:///a", "peer": "", "error": ""})
    [(_, data)] = Stream(recent, "service=old").read()  # a reload may have removed it
    assert data["service"] == "old"


def test_text_of_a_client_does_not_break_a_message():
    recent = made()
    stream = Stream(recent)
    hostile = "\x1b[2J\r\n\ndata: x\u2028\u202e</script>\udcff"
    fields = {"service": "echo", "address": "unix:///a", "peer": hostile, "error": hostile}
    recent.event("handshake.failed", fields)
    [(kind, data)] = stream.read()
    assert (kind, data["peer"]) == ("", hostile)
    assert data["message"].isprintable()
    assert recent.select(Selection())[0].data.decode().isprintable()
