"""The phases of a load, with flows in memory: nothing waits for an unrelated timer, and every flow is used in turn."""

import math
import socket
import time
from collections.abc import Sequence
from select import EPOLLIN
from types import SimpleNamespace
from typing import Any

from echod.client.load.epoll_loop import EpollLoop
from echod.client.load.load_run import LoadRun, Phase
from echod.client.load.pacing import SECOND, Pace
from echod.client.load.pattern import Pattern
from echod.shape import Shape


class Clockwork:
    """The part of the loop that a load uses; nothing is called by itself."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.later: list[Any] = []

    def soon(self, call: Any) -> None:
        self.calls.append(call)

    def callLater(self, seconds: float, call: Any, *arguments: Any) -> None:
        self.later.append((seconds, call, arguments))

    def turn(self) -> None:
        while self.calls:
            self.calls.pop(0)()


class Echoing:
    """A flow whose messages are returned by the test."""

    proves, opened, is_open, failed, target = True, 1, False, False, 0

    def __init__(self, load: LoadRun, number: int) -> None:
        self.load, self.number, self.in_flight, self.times = load, number, 0, list[int]()
        self.left = False

    @property
    def room(self) -> int:
        return self.load.depth - self.in_flight if self.is_open else 0

    def open(self) -> None:
        self.is_open = True
        self.load.opened(self)

    def issue(self, times: Sequence[int], now: int) -> None:
        assert len(times) <= self.room
        self.in_flight += len(times)
        self.times += times
        self.load.counts.sent += len(times)

    def reply(self, now: int, count: int = 1) -> None:
        self.in_flight -= count
        self.load.counts.received += count
        self.load.completed(self, count, now)

    def check(self, now: int, patience: int) -> None:
        pass

    def leave(self) -> None:
        self.left, self.is_open = True, False


def load_of(loop: Any, events: list[str], depth: int, pace: Pace, warm_up: float = 0.0) -> LoadRun:
    """A load on a loop, or on the part of it that a load uses, that notes its events."""
    return LoadRun(
        loop,
        Pattern(),
        (64,),
        depth,
        pace,
        patience=5,
        warm_up=warm_up,
        begun=lambda: events.append("begun"),
        measuring=lambda: events.append("measuring"),
        reported=events.append,
        over=lambda: events.append("over"),
    )


class Lab:
    def __init__(self, flows: int = 1, depth: int = 1, warm_up: float = 0.0, **pace: Any) -> None:
        self.loop, self.events = Clockwork(), list[str]()
        paced = Pace(pace.get("rate"), pace.get("count"), pace.get("seconds"))
        self.load: Any = load_of(self.loop, self.events, depth, paced, warm_up)
        self.load.dialer = SimpleNamespace(address=SimpleNamespace(shape=Shape.STREAM))
        self.flows = [Echoing(self.load, number) for number in range(flows)]
        self.load.flows += self.flows
        self.load.start()
        self.loop.turn()

    def sweep(self) -> None:
        """The last timer that was set, and the one that it sets."""
        for _ in range(2):
            _, call, arguments = self.loop.later.pop()
            call(*arguments)
        self.loop.turn()

    @property
    def begin(self) -> int:
        begin: int = self.load._begun
        return begin


def test_a_closed_loop_fills_every_flow_and_ends_after_its_count() -> None:
    lab = Lab(flows=2, depth=3, count=8)
    assert (lab.events, [flow.in_flight for flow in lab.flows]) == (["begun", "measuring"], [3, 3])
    lab.flows[0].reply(lab.begin + 5, 2)
    assert [flow.in_flight for flow in lab.flows] == [3, 3]
    lab.flows[1].reply(lab.begin + 6, 3)
    lab.load.tick(lab.begin + 7)
    assert lab.load.phase is Phase.MEASURING
    lab.flows[0].reply(lab.begin + 8, 3)
    assert lab.load.tick(lab.begin + 9) == math.inf
    assert all(flow.left for flow in lab.flows)
    assert lab.events[-1] == "over"
    assert (lab.load.elapsed, lab.load.counts.sent, lab.load.counts.awaited) == (8, 8, 0)


def test_an_open_loop_uses_flows_in_turn_and_counts_lateness_only_while_one_is_free() -> None:
    lab = Lab(flows=3, depth=1, rate=1000, seconds=1)
    now = lab.begin
    assert lab.load.tick(now) == now + SECOND // 1000
    assert [len(flow.times) for flow in lab.flows] == [1, 0, 0]
    lab.load.tick(now + 2 * SECOND // 1000)
    assert [flow.times for flow in lab.flows] == [[now], [now + SECOND // 1000], [now + 2 * SECOND // 1000]]
    late = lab.load.counts.lateness
    assert (late.total, late.maximum) == (3, SECOND // 1000)
    assert lab.load.tick(now + 50 * SECOND // 1000) == now + SECOND  # no flow is free
    lab.flows[1].reply(now + 60 * SECOND // 1000)
    lab.load.tick(now + 60 * SECOND // 1000)
    assert lab.flows[1].times[1] == now + 3 * SECOND // 1000  # its latency counts from the planned time
    assert (late.total, late.maximum) == (3, SECOND // 1000)  # the service was late, not the generator


def test_what_was_planned_before_the_end_is_sent_and_the_rest_is_reported() -> None:
    lab = Lab(flows=1, depth=4, rate=10, seconds=1)
    lab.load.tick(lab.begin + 2 * SECOND)
    assert lab.flows[0].in_flight == 4
    lab.flows[0].reply(lab.begin + 2 * SECOND + 1, 4)
    lab.load.tick(lab.begin + 2 * SECOND + 2)
    assert (lab.load.counts.sent, lab.load.unsent, lab.load.elapsed) == (4, 6, 2 * SECOND + 1)


def test_measuring_begins_at_once_after_the_warm_up_has_drained() -> None:
    lab = Lab(warm_up=0.5, rate=10, count=3)
    lab.load.tick(lab.begin)
    assert (lab.events, lab.load.phase) == (["begun"], Phase.WARMING)
    end = lab.begin + SECOND
    lab.load.tick(end)
    assert lab.load.phase is Phase.WARMING  # one is in flight
    lab.flows[0].reply(end + 1)
    lab.load.counts.fail("reset", "in the warm-up")
    assert lab.load.tick(end + 2) == end + 2  # again at once: the first message is due
    assert (lab.events, lab.load.phase) == (["begun", "measuring"], Phase.MEASURING)
    assert (lab.load.counts.sent, dict(lab.load.counts.failures)) == (0, {"reset": 1})


def test_an_interrupt_leaves_messages_awaited() -> None:
    lab = Lab(depth=5, seconds=10)
    lab.load.interrupt()
    assert (lab.events[-1], lab.load.counts.awaited, lab.load.counts.lost) == ("over", 5, 0)
    assert lab.load.seconds > 0


def test_a_load_ends_if_no_reply_ever_arrives() -> None:
    lab = Lab(flows=2, count=1000)
    lab.load.counts.lost = 19
    lab.sweep()
    assert lab.load.phase is Phase.MEASURING
    lab.load.counts.lost = 20
    lab.sweep()
    assert lab.events[-1] == "over"
    assert lab.load.error == "no reply to any of 20 messages; expected one within 5 s (--timeout)"


def test_a_load_with_a_reply_or_without_another_message_continues() -> None:
    lab = Lab(count=1000)
    lab.flows[0].reply(lab.begin + 1)
    lab.load.counts.lost = 900
    lab.sweep()
    assert (lab.load.phase, lab.load.error) == (Phase.MEASURING, "")
    lab = Lab(depth=11, count=11)
    lab.load.tick(lab.begin + 1)
    lab.load.counts.lost = 10
    lab.sweep()
    assert (lab.load.phase, lab.load.error) == (Phase.MEASURING, "")


def test_connections_are_opened_in_waves_after_the_first() -> None:
    opened: list[int] = []

    class Slow(Echoing):
        def open(self) -> None:
            opened.append(self.number)

    lab = Lab(flows=0, count=1)
    load = lab.load
    load.phase = Phase.OPENING
    slow = [Slow(load, number) for number in range(100)]
    load.flows[:] = slow
    load.start()
    assert opened == [0]
    load.opened(slow[0])
    lab.loop.turn()
    assert len(opened) == 65
    load.opened(slow[1])
    lab.loop.turn()
    assert len(opened) == 66


def test_replies_are_read_before_messages_are_lost() -> None:
    """The process was stopped: a sweep is due, and a reply has arrived."""
    loop, events = EpollLoop(), list[str]()
    ours, theirs = socket.socketpair()

    class Replied:
        watched = 0

        def fileno(self) -> int:
            return ours.fileno()

        def doRead(self) -> None:
            ours.recv(1)
            events.append("read")

        def connectionLost(self, _reason: object) -> None:
            ours.close()

    class Checked(Echoing):
        def check(self, now: int, patience: int) -> None:
            events.append("check")
            loop.stop()

    load = load_of(loop, events, 1, Pace(None, 1, None))
    load.flows.append(Checked(load, 0))
    reply: Any = Replied()
    loop.join(reply)
    loop.watch(reply, EPOLLIN)
    load.start()
    theirs.send(b"!")
    time.sleep(0.3)  # the longest pause between two sweeps is shorter
    loop.run()
    loop.close()
    theirs.close()
    assert [event for event in events if event in ("read", "check")] == ["read", "check"]
