"""The plane's loop: an epoll of its own, with the reactor's epoll as one member of it.

      peers ──► epoll of the plane ──► ready[descriptor](descriptor, events)
                     ▲      ▲
                     │      └─ an alarm: a timer of Twisted's is due
      reactor's epoll (level-triggered member): ready only when Twisted has something to do

The loop's `wait` takes the place of the reactor's: Python code of the reactor runs when its epoll is ready, when
a timer of its is due, or after a signal (whose handler wakes the reactor by its own pipe). Rules:

* Level-triggered only: what is left undone in a round comes back in the next.
* Each ready descriptor is served once in a round, by a bounded piece of work. Whoever is first in it may serve its
  like in one call (`Round`): a call of its own for each message is a fifth of what Python adds to the system calls.
* No descriptor of the plane is closed but by its own call or by the reactor's code between rounds: so a
  number that is used again within a round cannot be mistaken for its predecessor.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from echod.fastpath.timerfd import Alarm
from echod.transports.write_retry import WriteRetry

_log = Logger()

A_ROUND: Final = 64
"""Descriptors that are served before the timers are looked at again. The kernel tells of the others in the next round,
before it comes back to these. What Python makes of so many stays in the processor's nearest cache."""

Ready = Callable[[int, int], object]
"""Serves one descriptor: its number, and which events are true of it."""

Events = list[tuple[int, int]]
Round = Callable[[Events], object]
"""Serves each descriptor of a round, in its order: its own kind itself, every other by `Loop.ready`. It raises nothing,
but gives up (`Loop.give_up`) a descriptor that fails, and leaves those behind it to the next round."""


def _nobody(_descriptor: int, _events: int) -> None:
    """The place of a descriptor that is not ours."""


@implementer(IReadDescriptor)
class Loop:
    """Runs in the place of the reactor's wait; under a reactor without epoll, as one of its readers. Raises OSError."""

    def __init__(self, reactor: Any) -> None:
        self._reactor: Any = reactor
        self._epoll = select.epoll()
        self.ready: list[Ready] = []  #: who serves each descriptor
        self._rounds: list[Round] = []  # and the round that it is the first of
        self._retry = WriteRetry(reactor)
        self._reactor_due = False  # it has something to do: its epoll is ready, or somebody set a timer
        self._alarm: Alarm
        self._nested = isinstance(reactor, EPollReactor)
        if self._nested:
            try:
                self._alarm = Alarm()
            except OSError:
                self._epoll.close()
                raise
        self._due = inf  # when the alarm rings
        self._poller: Any = None

    def start(self) -> None:
        """Take part from now on."""
        if self._nested:
            # The two seams of Twisted that all of this hangs on: the epoll that it waits in, and the call that waits.
            self._poller = self._reactor._poller
            self.watch(self._alarm.fileno(), select.EPOLLIN, self._alarm_rings)
            self.watch(self._poller.fileno(), select.EPOLLIN, self._reactor_is_ready)
            self._reactor.doIteration = self.wait
        else:
            self._reactor.addReader(self)

    def stop(self) -> None:
        """Give the reactor its own wait back; every descriptor must have been forgotten."""
        if self._nested:
            self._reactor.doIteration = self._reactor.doPoll
            self._poller = None
        else:
            self._reactor.removeReader(self)
        self.discard()

    def discard(self) -> None:
        """It will never start, or not again: give its descriptors back."""
        if self._nested:
            self._alarm.close()
        self._epoll.close()

    def watch(self, descriptor: int, events: int, ready: Ready, all_ready: Round | None = None) -> None:
        """Call `ready(descriptor, events)` whenever one of `events` is true of it.

        `all_ready(every such pair)` is called in its place for a round that it is the first of.
        """
        while descriptor >= len(self.ready):
            self.ready.append(_nobody)
            self._rounds.append(self._one_by_one)
        self._retry.forget(descriptor)  # who had this number before
        self.ready[descriptor] = ready
        self._rounds[descriptor] = all_ready or self._one_by_one
        self._epoll.register(descriptor, events)

    def change(self, descriptor: int, events: int, ready: Ready, all_ready: Round | None = None) -> None:
        """Watch for other events, with other calls."""
        self.ready[descriptor] = ready
        self._rounds[descriptor] = all_ready or self._one_by_one
        self._epoll.modify(descriptor, events)

    def rest(self, descriptor: int, events: int) -> None:
        """Watch it for nothing, and in a while for `events` again: they were told, and were not true."""
        self._epoll.modify(descriptor, 0)
        self._retry.add(descriptor, partial(self._wake, descriptor, events))
        self.yield_to_reactor()

    def _wake(self, descriptor: int, events: int) -> None:
        with suppress(OSError):  # it was closed meanwhile
            self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Watch it no more: the kernel forgets a descriptor that is closed by itself, this is for one that lives."""
        self._retry.forget(descriptor)
        self._clear(descriptor)
        with suppress(OSError):  # given up already
            self._epoll.unregister(descriptor)

    def release(self, *calls: Ready) -> None:
        """Drop every reference to these calls: descriptors that were closed without `forget` still have theirs."""
        for descriptor, call in enumerate(self.ready):
            if call in calls:
                self._clear(descriptor)

    def _clear(self, descriptor: int) -> None:
        self.ready[descriptor] = _nobody
        self._rounds[descriptor] = self._one_by_one

    def yield_to_reactor(self) -> None:
        """A timer was set, or something else: let the reactor look after this round."""
        self._reactor_due = True

    def wait(self, timeout: float | None) -> None:
        """Serve the plane until the reactor has something to do, for `timeout` seconds at most (None: for ever)."""
        poll, rounds = self._epoll.poll, self._rounds
        self._reactor_due = timeout == 0  # then one round is all
        wait = 0 if timeout == 0 else None
        if timeout:
            self._wake_within(timeout)
        while True:
            events = poll(wait, A_ROUND)
            if events:
                rounds[events[0][0]](events)
            if self._reactor_due or not events:
                break
        if self._poller is not None:
            self._reactor.doPoll(0)

    def _wake_within(self, seconds: float) -> None:
        """Set the alarm, unless it rings before: too early is a turn of the reactor for nothing, and cheaper."""
        due = monotonic() + seconds
        if due < self._due:
            self._due = due
            self._alarm.set(seconds)

    def _alarm_rings(self, _descriptor: int, _events: int) -> None:
        self._alarm.stop()
        self._due = inf
        self._reactor_due = True

    def _one_by_one(self, events: Events) -> None:
        """The round of who has none of its own."""
        ready = self.ready
        descriptor = -1
        try:
            for descriptor, happened in events:
                ready[descriptor](descriptor, happened)
        except Exception:  # the rest of this round comes back in the next
            self.give_up(descriptor)

    def give_up(self, descriptor: int) -> None:
        """While an exception is handled, a bug: leave the descriptor alone, or it would come back in every round."""
        _log.failure("the plane gives up descriptor {descriptor}", descriptor=descriptor)
        self.forget(descriptor)

    def _reactor_is_ready(self, _descriptor: int, _events: int) -> None:
        self._reactor_due = True

    # as a reader of another reactor

    def fileno(self) -> int:
        """The plane's epoll: readable when one of its members is ready."""
        return self._epoll.fileno()

    def doRead(self) -> None:
        """One round."""
        if events := self._epoll.poll(0, A_ROUND):
            self._rounds[events[0][0]](events)

    def connectionLost(self, reason: object) -> None:
        """The reactor ends."""

    def logPrefix(self) -> str:
        """How Twisted's own messages name us."""
        return "plane"
