"""A load from its first connection to its end: opens flows, gives them messages by the schedule, and ends them.

      opening ──► warming ──► measuring ──► draining ──► leaving ──► over

Warming and measuring end when no message may be sent any more and each sent one has its fate. So the figures belong
to whole messages only, and every sent byte was verified. A failure is counted, its connection is opened again after a
pause, and the load continues.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from time import perf_counter_ns
from typing import Any, Final

from echod.client.load.counts import LoadCounts
from echod.client.load.epoll_loop import EpollLoop
from echod.client.load.flow import LINGER
from echod.client.load.pacing import SECOND, Pace
from echod.client.load.pattern import Pattern, Sizes
from echod.client.load.processor_usage import Usage, usage
from echod.escaping import counted

OPENING: Final = 64  #: connections that are opened at once: half of the shortest listen queue in use
GIVE_UP: Final = 10.0  #: seconds after which the load ends if no connection can be opened again
UNANSWERED: Final = 10  #: lost messages for each connection after which the load ends if no reply ever arrived
QUIET: Final = 0.1  #: seconds in which duplicates of the last datagrams are counted
CHECK: Final = 0.005  #: seconds between two checks whether all connections have ended


class Phase(Enum):
    """The phases of a load."""

    OPENING = "opening"
    WARMING = "warming up"
    MEASURING = "measuring"
    LEAVING = "closing"
    OVER = "over"


class LoadRun:
    """One load.

    `begun` is called when sending begins, `measuring` when it is measured, and `over` once, at the end. `reported` gets
    the description of the first failure of each cause.

    `dialer` opens the connections of `flows`, which the caller appends before `start`. A message that has waited for
    `patience` seconds is lost.
    """

    def __init__(
        self,
        loop: EpollLoop,
        pattern: Pattern,
        sizes: Sequence[int],
        depth: int,
        pace: Pace,
        *,
        patience: float,
        warm_up: float = 0.0,
        begun: Callable[[], None],
        measuring: Callable[[], None],
        reported: Callable[[str], None],
        over: Callable[[], None],
    ) -> None:
        self.counts = LoadCounts()
        self.pattern, self.sizes, self.depth = pattern, Sizes(tuple(sizes)), depth
        self.flows: list[Any] = []
        self.dialer: Any = None
        self.phase = Phase.OPENING
        self.error = ""  #: why the load ended early
        self.elapsed = 0  #: nanoseconds of measuring, at its end
        self.used = Usage(0, 0, 0)  #: of the processor while measuring
        self.unsent = 0  #: messages of the schedule that were not sent before the end
        self._loop = loop
        self._pace, self._measured = Pace(pace.rate, None, warm_up), pace
        self._warms = warm_up > 0
        self._patience = round(patience * SECOND)
        self._begun_to_send, self._measuring, self._reported, self._over = begun, measuring, reported, over
        self._free: deque[Any] = deque()  # flows with room, in turn
        self._queued: set[int] = set()  # their numbers
        self._blocked = False  # no flow has room for a planned message
        self._freed = 0  # when the last such time ended
        self._unopened: deque[Any] = deque()
        self._tried: set[int] = set()  # numbers of flows that were opened, or have failed
        self._last_failure = ""
        self._sends = False  # warming or measuring
        self._replied = False  # in the warm-up
        self.reached = False  #: the service has accepted a connection, or replied
        self._begun = self._last = self._end = 0  # of this phase: its begin, the last reply, the end of sending
        self._usage = Usage(0, 0, 0)
        self._usable = perf_counter_ns()  # when a flow could be used last

    def start(self) -> None:
        """Open the connections. Sending begins when each of them was opened or has failed."""
        self._unopened.extend(self.flows)
        self._open_next()  # one alone: it finds the address that replies
        self._sweep_later()

    def interrupt(self) -> None:
        """End now. Messages without a reply are awaited, not lost."""
        self._finish()

    @property
    def seconds(self) -> float:
        """Seconds of measuring so far."""
        now = perf_counter_ns() - self._begun if self.phase is Phase.MEASURING else 0
        return (self.elapsed or now) / SECOND

    @property
    def progress(self) -> float:
        """The share of the load that was sent (0–1): of the count or of the time, what is further."""
        return self._measured.share(perf_counter_ns())

    @property
    def usage(self) -> Usage:
        """The use of the processor while measuring so far."""
        return usage() - self._usage if self.phase is Phase.MEASURING else self.used

    # for flows: echod.client.load.flow.Load

    def dial(self, flow: Any) -> None:
        """Open the connection of a flow."""
        self.dialer.dial(flow)

    def opened(self, flow: Any) -> None:
        """Give the flow messages."""
        self.reached = self.reached or flow.proves
        if self.phase is Phase.OPENING:
            self._tried.add(flow.number)
            self._loop.soon(self._open_next)
        elif self.phase is Phase.LEAVING:
            flow.leave()
        else:
            self._fill(flow)

    def closed(self, flow: Any) -> None:
        """Open the flow again, after a pause if it has failed."""
        if self.phase in (Phase.LEAVING, Phase.OVER):
            return
        if flow.failed and not self.reached:
            self._try_next_target(flow)
            return
        if flow.failed:
            self._loop.callLater(flow.backoff.pause(), self._reopen, flow)
        else:
            self._loop.soon(lambda: self._reopen(flow))
        if self.phase is Phase.OPENING:
            self._tried.add(flow.number)
            self._loop.soon(self._open_next)

    def completed(self, flow: Any, done: int, now: int) -> None:
        """Give the flow other messages."""
        self.reached = True
        self._last = now
        self._fill(flow, now)

    def failed(self, flow: Any, cause: str, detail: str) -> None:
        """Count a failure, and report the first one of its cause. Before anything was reached, it may be the end."""
        if self.phase is Phase.OVER:  # the loop closes the sockets
            return
        self._last_failure = detail
        told = f"connection {flow.number + 1}: {detail}"
        if self.counts.fail(cause, told) and (self.reached or not flow.failed):
            self._reported(told)

    def refuse(self, reason: str) -> None:
        """End the load, because the service is not one that it can measure."""
        self.error = self.error or reason
        self._loop.soon(self._finish)

    # sending

    def tick(self, now: int) -> float:
        """Send the messages that are due. Returns the time of the next call that is needed."""
        if not self._sends:
            return math.inf
        pace = self._pace
        if self._end or (pace.rate is None and pace.over(now)):
            return self._sent_all(now)
        if pace.rate is None:
            return pace.end
        due = pace.due(now)
        while due and self._free:
            flow = self._free[0]
            room = flow.room
            if room <= 0:
                self._free.popleft()
                self._queued.discard(flow.number)
                continue
            self._free.rotate(-1)
            count = min(due, room) if len(self._free) == 1 else 1
            self._send(flow, count, now)
            due -= count
        self._blocked = bool(due)
        if pace.over(now):
            return self._sent_all(now)
        return pace.end if self._blocked else min(pace.end, pace.next(now))

    def _send(self, flow: Any, count: int, now: int) -> None:
        """Send messages of an open loop that are due."""
        times = self._pace.issue(count)
        record, freed = self.counts.lateness.record, self._freed
        for planned in times:
            if planned >= freed:
                record(now - planned)
        flow.issue(times, now)

    def _fill(self, flow: Any, now: int | None = None) -> None:
        """Give a flow all messages that it has room for; in an open loop, `tick` does that."""
        if not self._sends:
            return
        now = perf_counter_ns() if now is None else now
        if self._pace.rate is None:
            if times := self._pace.take(flow.room, now):
                flow.issue(times, now)
        elif flow.number not in self._queued and flow.room > 0:
            self._queued.add(flow.number)
            self._free.append(flow)
            if self._blocked:
                self._freed = now

    # phases

    def _open_next(self) -> None:
        if self.phase is not Phase.OPENING:
            return
        opening = len(self.flows) - len(self._unopened) - len(self._tried)
        while self._unopened and opening < (OPENING if self._tried else 1):
            opening += 1
            self._unopened.popleft().open()
        if len(self._tried) == len(self.flows):
            self._begin()

    def _begin(self) -> None:
        if self.phase is Phase.OPENING:
            self._begun_to_send()
        self._sends = True
        self.phase = Phase.WARMING if self._warms else Phase.MEASURING
        if not self._warms:
            self._pace = self._measured
        now = perf_counter_ns()
        self._begun = self._freed = self._last = now
        self._end = 0
        self._usage = usage()
        self._pace.begin(now)
        if self.phase is Phase.MEASURING:
            self._measuring()
        for flow in self.flows:
            self._fill(flow, now)

    def _sent_all(self, now: int) -> float:
        """Nothing is sent any more: go on to the next phase when each message has its fate. Returns as `tick`."""
        self._end = self._end or now
        if self.counts.awaited:
            return math.inf
        if self.phase is Phase.WARMING:
            self._warms = False
            self._replied = self.counts.received > 0
            connecting = self.counts.connecting
            self.counts.reset()
            self.counts.connecting = connecting
            self.pattern.keep()
            self._free.clear()
            self._queued.clear()
            self._begin()
            return now  # the first message is due
        self._measure(now)
        self._leave()
        return math.inf

    def _measure(self, now: int) -> None:
        """Note the figures of the end; waiting for replies that never arrive is not part of the time."""
        if self.phase is Phase.MEASURING:
            self.elapsed = max(1, max(self._end or now, self._last) - self._begun)
            self.used = usage() - self._usage
            self.unsent = self._pace.unsent(now)

    def _leave(self) -> None:
        self._sends = False
        self.phase = Phase.LEAVING
        for flow in self.flows:
            flow.leave()
        datagrams = not self.dialer.address.shape.has_connections
        self._await_end(perf_counter_ns() + round((QUIET if datagrams else 2 * LINGER) * SECOND))

    def _await_end(self, until: int) -> None:
        if any(flow.is_open for flow in self.flows) and perf_counter_ns() < until:
            self._loop.callLater(CHECK, self._await_end, until)
        else:
            self._finish()

    def _finish(self) -> None:
        if self.phase is not Phase.OVER:
            self._measure(perf_counter_ns())
            self._sends = False
            self.phase = Phase.OVER
            self._over()

    # failures

    def _reopen(self, flow: Any) -> None:
        if self.phase not in (Phase.LEAVING, Phase.OVER):
            flow.open()

    def _try_next_target(self, flow: Any) -> None:
        """Before anything was reached, try the next address of the name; end after the last."""
        if self.dialer.next_target(flow.target):
            self._loop.soon(lambda: self._reopen(flow))
        else:
            self.error = self.error or self._last_failure
            self._loop.soon(self._finish)

    @property
    def _is_unanswered(self) -> bool:
        """Whether more would be sent, although the service has lost many messages and never replied."""
        counts = self.counts
        replied = self._replied or counts.received or counts.wrong or counts.late
        return self._sends and not self._end and not replied and counts.lost >= UNANSWERED * len(self.flows)

    def _sweep_later(self) -> None:
        """Sweep after a pause and another round of the loop, which reads replies that are as late as its timers."""
        pause = min(max(self._patience / SECOND / 10, 0.001), 0.25)
        self._loop.callLater(pause, self._loop.callLater, 0, self._sweep)

    def _sweep(self) -> None:
        """Fail messages that have waited too long. End if no reply ever arrives, or no connection can be opened."""
        if self.phase is Phase.OVER:
            return
        now = perf_counter_ns()
        for flow in self.flows:
            flow.check(now, self._patience)
        if self._is_unanswered:
            lost, patience = counted(self.counts.lost, "message", "messages"), self._patience / SECOND
            self.refuse(f"no reply to any of {lost}; expected one within {patience:g} s (--timeout)")
            return
        if self.phase is Phase.OPENING or any(flow.room or flow.in_flight for flow in self.flows):
            self._usable = now
        elif now - self._usable > GIVE_UP * SECOND and self.phase is not Phase.LEAVING:
            self.error = self.error or f"no connection could be opened for {GIVE_UP:g} s"
            self._finish()
            return
        self._sweep_later()
