"""The log of a worker: events of the whole daemon are reported by the parent alone."""

from __future__ import annotations

from typing import Any

import pytest

from echod.events import Events
from echod.workers.forwarded_log import ForwardedLog, ForwardedOutput, publish

FIELDS: dict[str, dict[str, Any]] = {
    "accept.resumed": {"service": "echo", "address": "tcp://127.0.0.1:7", "refused": 3},
    "limit.reached": {"service": "echo", "reason": "connections", "refused": 3, "setting": "connections = 1"},
    "daemon.ready": {"listeners": 3},
}


class Channel:
    """As ControlChannel: keeps what is sent."""

    congested = False

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def send(self, name: str, fields: Any) -> None:
        self.sent.append((name, fields["event"]))


@pytest.mark.parametrize(
    ("name", "is_sent"), [("accept.resumed", True), ("limit.reached", False), ("daemon.ready", False)]
)
def test_only_events_of_a_worker_are_sent_and_published(name: str, is_sent: bool) -> None:
    channel: Any = Channel()
    log = ForwardedLog(ForwardedOutput(channel, "line", terminal=False), "info", later=lambda *_: None)
    log.event(name, FIELDS[name])
    assert channel.sent == [("event", name)] * is_sent
    events, told = Events(), list[str]()
    events.subscribe(lambda event, _fields: told.append(event), connections=False)
    publish(events, {"event": name, "fields": FIELDS[name]})
    assert told == [name] * is_sent
