"""The status for pages: one snapshot for all, changes only, and nothing queued for a slow page."""

import json
from copy import deepcopy
from typing import Any

from echod.admin.live_status import EVERY, SHARE, LiveStatus, changes
from echod.gate.work_budget import WorkBudget
from echod.model import Context
from tests.turns import Turns

LISTENER: dict[str, Any] = {"address": "tcp://127.0.0.1:7", "open": 0, "refused": {}}
STATUS: dict[str, Any] = {
    "version": "1",
    "uptime": 1.0,
    "services": [{"name": "echo", "limits": {}, "listeners": [LISTENER]}],
}


class View:
    """A daemon whose status a test changes."""

    def __init__(self):
        self.now, self.timers = 0.0, []
        self.value, self.made, self.collected = deepcopy(STATUS), 0, True
        self.waiting = []
        self.seconds = 0.0  #: that a snapshot takes
        self.turns = Turns()
        work = WorkBudget(self.turns.later)
        context = Context(clock=lambda: self.now, later=lambda *timer: self.timers.append(timer), work=work)
        self.live = LiveStatus(self, context)

    def gather(self, connections, done):
        assert connections == 0
        if self.collected:
            done()
        else:
            self.waiting.append(done)

    def flush_counters(self):
        yield from [None] * 3

    def status(self):
        self.made += 1
        self.now += self.seconds
        copied = deepcopy(self.value)
        return {**copied, "services": iter(copied["services"])}

    def second(self):
        """Let the timer pass that is set, and every turn that follows."""
        [(seconds, call)] = self.timers
        self.timers.clear()
        self.now += seconds
        call()
        self.turned = self.turns.all()
        return seconds


class Page:
    def __init__(self, view):
        self.woken = 0
        self.follower = view.live.follow(self.wake)
        view.turned = view.turns.all()

    def wake(self):
        self.woken += 1

    def take(self):
        """The type and the data of the message that waits; None without one."""
        message = self.follower.take().decode()
        if not message:
            return None
        kind, data, *rest = message.split("\n")
        assert rest == ["", ""]
        return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_a_page_gets_the_whole_status_and_then_changes():
    view = View()
    page = Page(view)
    assert page.take() == ("status", STATUS)
    assert page.take() is None
    view.value["uptime"] = 2.0
    view.value["services"][0]["listeners"][0] |= {"open": 3, "refused": {"rate": 1}}
    view.value["services"][0]["limits"] = {"connections": 5}
    view.second()
    assert page.take() == (
        "changes",
        {
            "members": {"uptime": 2.0},
            "services": {"0": {"limits": {"connections": 5}}},
            "listeners": {"0": {"0": {"open": 3, "refused": {"rate": 1}}}},
        },
    )
    view.second()
    assert page.take() == ("changes", {"members": {}, "services": {}, "listeners": {}})
    assert page.woken == 3


def test_all_pages_share_one_snapshot():
    view = View()
    pages = [Page(view) for _ in range(100)]
    assert view.made == 1
    assert {page.take()[0] for page in pages} == {"status"}
    view.second()
    assert view.made == 2
    assert {page.take()[0] for page in pages} == {"changes"}


def test_a_page_that_comes_later_gets_the_last_snapshot_at_once():
    view = View()
    Page(view)
    late = Page(view)
    assert late.take() == ("status", STATUS)
    assert view.made == 1


def test_nothing_is_queued_for_a_page_that_reads_too_slowly():
    view = View()
    slow, other = Page(view), Page(view)
    assert slow.take()[0] == other.take()[0] == "status"
    for _ in range(50):
        view.value["uptime"] += 1
        view.second()
        assert other.take()[0] == "changes"
    assert slow.take() == ("status", view.value)
    assert slow.take() is None
    view.second()
    assert slow.take()[0] == "changes"


def test_other_addresses_are_a_whole_status():
    view = View()
    page = Page(view)
    page.take()
    view.value["services"][0]["listeners"].append({**LISTENER, "address": "udp://127.0.0.1:7"})
    view.second()
    assert page.take() == ("status", view.value)


def test_no_snapshot_is_made_without_a_page():
    view = View()
    page = Page(view)
    page.follower.close()
    page.follower.close()
    view.second()
    assert (view.made, view.timers) == (1, [])
    view.value["uptime"] = 9.0
    assert Page(view).take() == ("status", view.value)
    assert view.made == 2


def test_a_snapshot_that_takes_long_is_made_less_often():
    view = View()
    Page(view)
    assert view.second() == EVERY
    view.seconds = 3.0
    view.second()
    assert view.second() == SHARE * 3.0


def test_a_large_status_is_made_in_several_turns():
    view = View()
    view.value["services"] = [{"name": f"echo{n}", "listeners": [dict(LISTENER)] * 30} for n in range(100)]
    page = Page(view)
    assert page.take() == ("status", view.value)
    assert view.turned > 5


def test_workers_are_asked_first():
    view = View()
    view.collected = False
    page = Page(view)
    assert page.take() is None
    view.waiting.pop()()
    view.turns.all()
    assert page.take()[0] == "status"


def test_changes_of_nothing_are_unknown():
    assert changes({}, STATUS) is None
