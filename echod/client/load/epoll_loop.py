"""A loop of epoll and timers, without a reactor: each event costs one call, and the tick of a schedule is exact.

It is the `Watcher` of the sockets in `echod.transports.stream_socket`, and the clock of the layers on them. So a load
uses the sockets and layers of every other command, and the reactor's cost for each event does not bound it.
"""

from __future__ import annotations

import heapq
import math
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from time import perf_counter_ns
from types import SimpleNamespace
from typing import Any, Final

from twisted.internet.error import ConnectionDone, ConnectionLost

from echod.client.load.pacing import SECOND
from echod.client.stdout import INTERRUPTED
from echod.fastpath import syscalls
from echod.fastpath.timerfd import TimerDescriptor
from echod.lineedit.raw_mode import restore
from echod.transports.port_epoll import Watched

A_ROUND: Final = 64  #: sockets served before timers and the schedule are looked at again
WAKING: Final = 100_000
"""Nanoseconds before a planned time that the loop does not sleep any more: the kernel takes up to that long to wake a
process."""
CANCELLED: Final = 1024  #: timers that are cancelled before their entries are removed
STUCK: Final = 0.5  #: seconds after which a repeated signal ends the program, if the first one is not handled yet
_HANG_UP: Final = EPOLLHUP | EPOLLERR


class Timer:
    """A call at a time, as Twisted's DelayedCall."""

    def __init__(
        self, loop: EpollLoop, seconds: float, call: Callable[..., object], arguments: tuple[Any, ...]
    ) -> None:
        self._loop, self._call, self._arguments = loop, call, arguments
        self._turn = 0  # which of its entries in the heap is valid
        self._pending = True
        self.reset(seconds)

    def reset(self, seconds: float) -> None:
        """Call after so many seconds from now, instead of earlier or later."""
        self._turn += 1
        self._loop.schedule(perf_counter_ns() + round(seconds * SECOND), self, self._turn)

    def cancel(self) -> None:
        """Do not call, and release what would have been called."""
        if self._pending:
            self._pending = False
            self._call, self._arguments = _nothing, ()
            self._loop.forget_timer()

    def active(self) -> bool:
        """Whether the call will happen."""
        return self._pending

    def is_due_in(self, turn: int) -> bool:
        """Whether the entry `turn` of the heap is the valid one."""
        return self._pending and turn == self._turn

    def fire(self, turn: int) -> None:
        """The time of the entry `turn` has come."""
        if self.is_due_in(turn):
            self._pending = False
            self._call(*self._arguments)


def _nothing(*_arguments: object) -> None:
    """The call of a timer that was cancelled."""


class EpollLoop:
    """The loop. `tick` is called in each round, with the time, and returns the time at which it must be called again.

    All times are nanoseconds of `perf_counter_ns`. Between `tick`s the loop sleeps until a socket is ready. A planned
    time that is due soon is awaited in a loop (WAKING). Raises OSError if it cannot be opened.
    """

    def __init__(self) -> None:
        self.tick: Callable[[int], float] = lambda _now: math.inf
        self._epoll = epoll()
        self._sockets: dict[int, Watched] = {}
        self._soon: list[Callable[[], object]] = []
        self._timers: list[tuple[int, int, Timer, int]] = []
        self._cancelled = 0  # timers, since entries were removed
        self._count = 0  # of timers, so that two with the same time are not compared
        self._running = False
        self._signals: dict[int, Callable[[], object]] = {}
        self._received: list[int] = []  # signals that are not handled yet
        self._first = 0  # when the first of them came
        self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll.register(self._pipe[0], EPOLLIN)
        self._alarm = TimerDescriptor() if syscalls.available else None
        if self._alarm is not None:
            self._epoll.register(self._alarm.fileno(), EPOLLIN)
        self._alarmed = math.inf  # the time that the alarm is set to

    # for sockets: echod.transports.port_epoll.Watcher

    def join(self, socket: Watched) -> None:
        """Add a socket, without events for now."""
        socket.watched = 0
        self._sockets[socket.fileno()] = socket

    def watch(self, socket: Watched, events: int) -> None:
        """Watch a socket for `events` only."""
        before = socket.watched
        if events == before:
            return
        socket.watched = events
        if not before:
            self._epoll.register(socket.fileno(), events)
        elif events:
            self._epoll.modify(socket.fileno(), events)
        else:
            self._epoll.unregister(socket.fileno())

    def forget(self, socket: Watched) -> None:
        """Stop watching a socket; its descriptor must still be open."""
        self.watch(socket, 0)
        self._sockets.pop(socket.fileno(), None)

    def soon(self, call: Callable[[], object]) -> None:
        """Call it after this round."""
        self._soon.append(call)

    # for layers: the part of IReactorTime that they use

    def callLater(self, seconds: float, call: Callable[..., object], *arguments: Any) -> Timer:
        """Call it after so many seconds."""
        return Timer(self, seconds, call, arguments)

    def seconds(self) -> float:
        """The time of the clock."""
        return perf_counter_ns() / SECOND

    def schedule(self, when: int, timer: Timer, turn: int) -> None:
        """Add an entry for a timer."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer, turn))

    def forget_timer(self) -> None:
        """Count a timer that was cancelled. When most are, their entries are removed from the heap.

        A handshake cancels the timer of its deadline. With a connection for each message, its entries would stay for
        ten seconds.
        """
        self._cancelled += 1
        if self._cancelled > max(CANCELLED, len(self._timers) // 2):
            self._timers = [entry for entry in self._timers if entry[2].is_due_in(entry[3])]
            heapq.heapify(self._timers)
            self._cancelled = 0

    # the loop

    def on_signal(self, number: int, call: Callable[[], object]) -> None:
        """Call it in the loop after each signal of this number. Only the main thread may call this."""
        self._signals[number] = call
        signal.signal(number, self._note)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)

    def _note(self, number: int, _frame: object) -> None:
        if number in self._received and perf_counter_ns() - self._first > STUCK * SECOND:
            restore()
            os._exit(INTERRUPTED)  # the loop is blocked in a write to a terminal or pipe that accepts nothing
        if not self._received:
            self._first = perf_counter_ns()
        self._received.append(number)

    @property
    def is_running(self) -> bool:
        """Whether `run` continues."""
        return self._running

    def stop(self) -> None:
        """End `run` after this round."""
        self._running = False

    def run(self) -> None:
        """Serve sockets and timers until `stop`."""
        self._running = True
        while self.is_running:
            self._run_timers(perf_counter_ns())
            self._run_soon()
            due = self.tick(perf_counter_ns())  # last: the calls before may have changed the schedule
            if self.is_running:
                self._serve(self._wait(min(due, self._next_timer)))
            while self._received:
                self._signals[self._received.pop(0)]()

    def close(self) -> None:
        """Close all sockets, and the descriptors of the loop."""
        for served in tuple(self._sockets.values()):
            served.connectionLost(SimpleNamespace(value=ConnectionDone()))
        if self._signals:
            signal.set_wakeup_fd(-1)
        if self._alarm is not None:
            self._alarm.close()
        self._epoll.close()
        for descriptor in self._pipe:
            os.close(descriptor)

    def _run_timers(self, now: int) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, timer, turn = heapq.heappop(self._timers)
            timer.fire(turn)

    @property
    def _next_timer(self) -> float:
        """The time of the next timer; infinite without one."""
        return self._timers[0][0] if self._timers else math.inf

    def _run_soon(self) -> None:
        while self._soon:
            calls, self._soon = self._soon, []
            for call in calls:
                call()

    def _wait(self, due: float) -> list[tuple[int, int]]:
        """The sockets that are ready, at the latest when a time is due."""
        left = due - perf_counter_ns()
        if left <= WAKING or self._soon:
            return self._epoll.poll(0, A_ROUND)
        if self._alarm is None:  # without it, epoll_wait(2) rounds up to milliseconds
            return self._epoll.poll(-1 if left == math.inf else (left - WAKING) // 1_000_000 / 1000, A_ROUND)
        if due != self._alarmed:
            self._alarmed = due
            if due == math.inf:
                self._alarm.stop()
            else:
                self._alarm.set((left - WAKING) / SECOND)
        return self._epoll.poll(-1, A_ROUND)

    def _serve(self, ready: list[tuple[int, int]]) -> None:
        sockets = self._sockets
        for descriptor, events in ready:
            served = sockets.get(descriptor)
            if served is None:
                self._own(descriptor)
            elif events & EPOLLIN:
                served.doRead()
                if events & EPOLLOUT and sockets.get(descriptor) is served:
                    served.doWrite()
            elif events & _HANG_UP and not events & EPOLLOUT:
                served.connectionLost(SimpleNamespace(value=ConnectionLost()))
            else:
                served.doWrite()

    def _own(self, descriptor: int) -> None:
        """Handle the alarm, or a signal; a socket that was closed in this round has no events any more."""
        if self._alarm is not None and descriptor == self._alarm.fileno():
            self._alarmed = math.inf
            self._alarm.stop()
        elif descriptor == self._pipe[0]:
            with suppress(BlockingIOError):
                os.read(descriptor, 4096)
