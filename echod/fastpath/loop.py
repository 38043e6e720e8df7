"""The loop of the fast path: its own epoll, with the reactor's epoll as one member.

      peers ──► epoll of the loop  ──► ready[descriptor](descriptor, events)
                     ▲      ▲
                     │      └─ timerfd: a timer of Twisted is due
      reactor's epoll (level-triggered member): ready only when Twisted has something to do

The loop's `wait` replaces that of the reactor. Code of the reactor runs when its epoll is ready, when one of its timers
is due, or after a signal (its handler wakes the reactor through a pipe). Rules:

* Level-triggered only: unfinished work of a round is reported again in the next.
* Each ready descriptor is served once in a round, with bounded work. The first one may serve all of its kind in one
  call (`Round`), because a call for each message is a fifth of Python's cost besides the system calls.
* A descriptor is closed only by its own call, or by code of the reactor between rounds. So a number that is reused in
  the same round cannot be confused with its predecessor.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any, ClassVar, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from echod.fastpath.batch import Batch
from echod.fastpath.native_library import Count, NativeDatagramLane, NativeLane, NativeStreamLane, Told
from echod.fastpath.timerfd import TimerDescriptor
from echod.model import Transform
from echod.transports.write_retry import WriteRetry

_log = Logger()

A_ROUND: Final = 64
"""Descriptors served before timers are checked again. The kernel reports the others in the next round, before these.
The Python objects for this many fit in the CPU's first-level cache."""

Ready = Callable[[int, int], object]
"""Serves one descriptor, given its number and its ready events."""

Events = list[tuple[int, int]]
Round = Callable[[Events], object]
"""Serves the descriptors of a round in order: its own kind directly, all others by `Loop.ready`. It does not raise. If
a descriptor fails, it calls `Loop.give_up` and leaves the following ones to the next round."""


def _unused(_descriptor: int, _events: int) -> None:
    """The entry of a descriptor that is not watched."""


@implementer(IReadDescriptor)
class Loop:
    """Replaces the reactor's wait; with a reactor without epoll, it is one of its readers. Raises OSError."""

    is_native: ClassVar[bool] = False  #: whether the native loop serves connections

    def __init__(self, reactor: Any) -> None:
        self._reactor: Any = reactor
        self._epoll = select.epoll()
        self._poll: Callable[[float | None, int], Events] = self._epoll.poll
        self.ready: list[Ready] = []  #: the function that serves each descriptor
        self._rounds: list[Round] = []  # the function for a round that starts with the descriptor
        self._retry = WriteRetry(reactor)
        self._reactor_due = False  # the reactor has work: its epoll is ready, or a timer was set
        self._timer: TimerDescriptor
        self._nested = isinstance(reactor, EPollReactor)
        if self._nested:
            try:
                self._timer = TimerDescriptor()
            except OSError:
                self._epoll.close()
                raise
        self._due = inf  # when the timerfd expires
        self._poller: Any = None

    def start(self) -> None:
        """Start to serve descriptors."""
        if self._nested:
            # This depends on two internals of Twisted: the reactor's epoll, and the call that waits.
            self._poller = self._reactor._poller
            self.watch(self._timer.fileno(), select.EPOLLIN, self._timer_expired)
            self.watch(self._poller.fileno(), select.EPOLLIN, self._reactor_is_ready)
            self._reactor.doIteration = self.wait
        else:
            self._reactor.addReader(self)

    def stop(self) -> None:
        """Restore the reactor's wait. Every descriptor must have been forgotten."""
        if self._nested:
            self._reactor.doIteration = self._reactor.doPoll
            self._poller = None
        else:
            self._reactor.removeReader(self)
        self.discard()

    def discard(self) -> None:
        """Close the loop's descriptors, after `stop` or instead of `start`."""
        if self._nested:
            self._timer.close()
        self._epoll.close()

    def native_stream_lane(self, transform: Transform, told: Told) -> NativeStreamLane | None:
        """The data that a lane shares with C; None: Python forwards all bytes. `told` acts when C cannot."""
        return None

    def native_datagram_lane(
        self, transform: Transform, told: Told, count: Count, batch: Batch
    ) -> NativeDatagramLane | None:
        """The same for datagrams, which are received into `batch`; `count` counts those that C has answered."""
        return None

    def remember(self, native: NativeDatagramLane, count: int) -> None:
        """Let C reply to the sources of the first `count` slots; the gate must admit them always."""

    def drop(self, native: NativeDatagramLane) -> None:
        """Free the data of a lane that has ended."""

    def watch(
        self,
        descriptor: int,
        events: int,
        ready: Ready,
        all_ready: Round | None = None,
        native: NativeLane | None = None,
    ) -> None:
        """Call `ready(descriptor, events)` whenever the descriptor is ready for one of `events`.

        If a round starts with this descriptor, `all_ready` is called instead, with all pairs of the round.
        """
        while descriptor >= len(self.ready):
            self.ready.append(_unused)
            self._rounds.append(self._one_by_one)
        self._retry.forget(descriptor)  # of an earlier descriptor with this number
        self.ready[descriptor] = ready
        self._rounds[descriptor] = all_ready or self._one_by_one
        self._epoll.register(descriptor, events)

    def change(
        self,
        descriptor: int,
        events: int,
        ready: Ready,
        all_ready: Round | None = None,
        native: NativeLane | None = None,
    ) -> None:
        """Change the events and functions of a descriptor."""
        self.ready[descriptor] = ready
        self._rounds[descriptor] = all_ready or self._one_by_one
        self._epoll.modify(descriptor, events)

    def rest(self, descriptor: int, events: int) -> None:
        """Stop watching a descriptor for a while, because its reported `events` were spurious."""
        self._epoll.modify(descriptor, 0)
        self._retry.add(descriptor, partial(self._wake, descriptor, events))
        self.yield_to_reactor()

    def _wake(self, descriptor: int, events: int) -> None:
        with suppress(OSError):  # it has been closed
            self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Stop watching an open descriptor. The kernel forgets a closed one automatically.

        A negative number, that of a closed Python socket, has no effect.
        """
        if descriptor < 0:  # as an index, it would be the entry of another descriptor
            return
        self._retry.forget(descriptor)
        self._clear(descriptor)
        with suppress(OSError):  # already given up
            self._epoll.unregister(descriptor)

    def release(self, *calls: Ready) -> None:
        """Drop all references to these functions, which descriptors closed without `forget` still have."""
        for descriptor, call in enumerate(self.ready):
            if call in calls:
                self._clear(descriptor)

    def _clear(self, descriptor: int) -> None:
        self.ready[descriptor] = _unused
        self._rounds[descriptor] = self._one_by_one

    def yield_to_reactor(self) -> None:
        """Let the reactor run after this round, because a timer was set or it has other work."""
        self._reactor_due = True

    def wait(self, timeout: float | None) -> None:
        """Serve descriptors until the reactor has work, for at most `timeout` seconds (None: no limit)."""
        poll, rounds = self._poll, self._rounds
        self._reactor_due = timeout == 0  # then serve one round only
        wait = 0 if timeout == 0 else None
        if timeout:
            self._wake_within(timeout)
        while True:
            events = poll(wait, A_ROUND)
            if events:
                rounds[events[0][0]](events)
            if self._reactor_due:
                break
        if self._poller is not None:
            self._reactor.doPoll(0)

    def _wake_within(self, seconds: float) -> None:
        """Set the timerfd unless it expires earlier: an early wakeup is cheaper than another system call."""
        due = monotonic() + seconds
        if due < self._due:
            self._due = due
            self._timer.set(seconds)

    def _timer_expired(self, _descriptor: int, _events: int) -> None:
        self._timer.stop()
        self._due = inf
        self._reactor_due = True

    def _one_by_one(self, events: Events) -> None:
        """A round that calls the function of each descriptor."""
        ready = self.ready
        descriptor = -1
        try:
            for descriptor, happened in events:
                ready[descriptor](descriptor, happened)
        except Exception:  # the rest of this round is reported again in the next
            self.give_up(descriptor)

    def give_up(self, descriptor: int) -> None:
        """Log the current exception and stop watching the descriptor, which would fail again in every round."""
        _log.failure("the fast path stops serving descriptor {descriptor}", descriptor=descriptor)
        self.forget(descriptor)

    def _reactor_is_ready(self, _descriptor: int, _events: int) -> None:
        self._reactor_due = True

    # as a reader of another reactor

    def fileno(self) -> int:
        """The loop's epoll, which is readable when one of its members is ready."""
        return self._epoll.fileno()

    def doRead(self) -> None:
        """Serve one round."""
        if events := self._poll(0, A_ROUND):
            self._rounds[events[0][0]](events)

    def connectionLost(self, reason: object) -> None:
        """The reactor stops."""

    def logPrefix(self) -> str:
        """The name in Twisted's messages."""
        return "plane"
