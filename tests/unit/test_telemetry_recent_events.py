"""The recent events: bounded, selected, and passed to followers within their rate."""

import json

from echod.event_catalogue import Severity, matching
from echod.telemetry.recent_events import KEPT, KEPT_BYTES, RecentEvents, Selection

ALL = Selection()
DEBUG = Selection(severity=Severity.DEBUG)
WHERE = {"service": "echo", "address": "tcp://*:7"}
CLIENT = {**WHERE, "peer": "192.0.2.1:5"}


class Made:
    """Recent events with a clock of the test, and the calls of `watch`."""

    def __init__(self):
        self.now = 0.0
        self.watched = []
        self.recent = RecentEvents(self.watched.append, lambda: self.now)

    def names(self, selection=ALL, **arguments):
        return [one.name for one in self.recent.select(selection, **arguments)]

    def data(self):
        return [json.loads(one.data) for one in self.recent.select(ALL)]


def test_events_are_kept_as_the_objects_of_the_json_log():
    made = Made()
    made.recent.event("listener.opened", WHERE)
    [event] = made.data()
    assert event.pop("time").endswith("Z")
    assert event == {"level": "info", "message": "echo  tcp://*:7", "event": "listener.opened", **WHERE}


def test_debug_events_are_not_kept():
    made = Made()
    made.recent.event("connection.opened", CLIENT)
    assert made.names(DEBUG) == []


def test_the_oldest_events_are_forgotten():
    made = Made()
    for number in range(KEPT + 7):
        made.recent.event("daemon.ready", {"listeners": number})
    assert [event["listeners"] for event in made.data()] == list(range(7, KEPT + 7))
    made.recent.event("daemon.refused", {"errors": "x" * KEPT_BYTES})
    made.recent.event("daemon.ready", {"listeners": 1})
    assert made.names() == ["daemon.ready"]


def test_events_are_selected_by_name_service_severity_and_age():
    made = Made()
    made.recent.event("listener.opened", WHERE)
    made.recent.event("listener.opened", {**WHERE, "service": "echo-tls"})
    fields = {"services": "echo, web", "source": "a", "subject": "CN=a", "until": "2027", "days": 3}
    made.recent.event("certificate.expiring", fields)
    made.now = 10.0
    made.recent.event("daemon.refused", {"errors": "wrong"})
    assert made.names(Selection(matching(["daemon.*", "cert*"]))) == ["certificate.expiring", "daemon.refused"]
    assert made.names(Selection(service="echo")) == ["listener.opened", "certificate.expiring"]
    assert made.names(Selection(service="web")) == ["certificate.expiring"]
    assert made.names(Selection(severity=Severity.WARN)) == ["certificate.expiring", "daemon.refused"]
    assert made.names(Selection(severity=Severity.ERROR)) == ["daemon.refused"]
    assert made.names(seconds=9.0) == ["daemon.refused"]
    assert len(made.names(seconds=10.0)) == 4
    made.recent.event("listener.opened", {**WHERE, "service": "a, b"})
    assert made.names(Selection(service="a, b")) == ["listener.opened"]
    assert made.names(Selection(service="a")) == []


def test_a_client_continues_after_its_last_event():
    made, other = Made(), Made()
    for one in (made, other):
        for number in range(3):
            one.recent.event("daemon.ready", {"listeners": number})
    first, second, third = made.recent.select(ALL)
    assert made.recent.select(ALL, after=first.identifier) == [second, third]
    assert made.recent.select(ALL, after=third.identifier) == []
    unknown = other.recent.select(ALL)[1].identifier  # of a daemon that ran before
    for after in ("", "x", f"{first.identifier}x", unknown):
        assert len(made.names(after=after)) == 3


def test_followers_get_what_they_have_selected():
    made, seen, failures = Made(), [], []
    made.recent.follow(DEBUG, seen.append)
    made.recent.follow(Selection(severity=Severity.ERROR), failures.append)
    made.recent.event("connection.opened", CLIENT)
    made.recent.event("daemon.refused", {"errors": "wrong"})
    assert [one.name for one in seen] == ["connection.opened", "daemon.refused"]
    assert [one.name for one in failures] == ["daemon.refused"]
    made.recent.unfollow(seen.append)
    made.recent.event("daemon.refused", {"errors": "wrong"})
    assert len(seen) == len(failures) == 2


def test_single_connections_are_watched_while_a_follower_wants_them():
    made, first, second, other = Made(), [], [], []
    made.recent.follow(ALL, other.append)
    assert made.watched == []
    made.recent.follow(DEBUG, first.append)
    made.recent.follow(DEBUG, second.append)
    made.recent.unfollow(first.append)
    assert made.watched == [True]
    made.recent.unfollow(second.append)
    made.recent.unfollow(second.append)
    assert made.watched == [True, False]


def test_the_rate_of_an_event_limits_streams_too():
    made, seen = Made(), []
    made.recent.follow(ALL, seen.append)
    for _ in range(5):
        made.recent.event("client.denied", {**CLIENT, "host": "192.0.2.1"})
    for error in ("no TLS", "no TLS", "too old"):
        made.recent.event("handshake.failed", {**CLIENT, "error": error})
    assert [(one["event"], one.get("error"), one.get("suppressed")) for one in made.data()] == [
        ("client.denied", None, None),
        ("handshake.failed", "no TLS", None),
        ("handshake.failed", "too old", None),
    ]
    made.now = 60.0
    made.recent.event("client.denied", {**CLIENT, "host": "192.0.2.1"})
    assert made.data()[-1]["suppressed"] == 4
    assert len(seen) == 4
