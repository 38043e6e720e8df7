"""The loop of a load: timers in order, the tick after every call that may change it, sockets, and signals."""

import math
import os
import signal
import socket
import weakref
from collections.abc import Iterator
from select import EPOLLIN
from typing import Any

import pytest

from echod.client.load.epoll_loop import EpollLoop


@pytest.fixture
def loop() -> Iterator[EpollLoop]:
    made = EpollLoop()
    yield made
    made.close()


class Reader:
    """A socket that records what it receives, and ends the loop."""

    watched = 0

    def __init__(self, loop: EpollLoop, connected: socket.socket) -> None:
        self.received = b""
        self.lost: Any = None
        self._loop, self._socket = loop, connected
        loop.join(self)
        loop.watch(self, EPOLLIN)

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        self.received += self._socket.recv(100)
        self._loop.stop()

    def doWrite(self) -> None:
        raise AssertionError("nothing is written")

    def connectionLost(self, reason: Any) -> None:
        self.lost = reason.value


def test_timers_are_called_in_their_order_unless_they_are_cancelled(loop: EpollLoop) -> None:
    """The times are absolute, so the timers are set in that order: the scheduler may stop the test between two."""
    called: list[str] = []
    moved = loop.callLater(0.001, called.append, "last")
    loop.callLater(0.002, called.append, "first")
    cancelled = loop.callLater(0.003, called.append, "cancelled")
    cancelled.cancel()
    loop.callLater(0.004, called.append, "second")
    moved.reset(0.005)
    loop.callLater(0.006, loop.stop)
    assert (cancelled.active(), moved.active()) == (False, True)
    loop.run()
    assert called == ["first", "second", "last"]
    assert not moved.active()


def test_cancelled_timers_release_what_they_would_call(loop: EpollLoop) -> None:
    class Stack:
        """Stands for the levels of a connection."""

    kept = weakref.WeakSet[Stack]()
    called: list[str] = []
    for number in range(10_000):
        kept.add(stack := Stack())
        loop.callLater(10, lambda held: None, stack).cancel()
        del stack
        if number % 1000 == 0:
            loop.callLater(0.001 * number / 1000, called.append, str(number))
        assert len(loop._timers) < 3_000
    assert len(kept) == 0
    loop.callLater(0.02, loop.stop)
    loop.run()
    assert called == [str(number) for number in range(0, 10_000, 1000)]


def test_a_call_that_begins_a_schedule_is_followed_by_a_tick_and_not_by_a_wait(loop: EpollLoop) -> None:
    """Otherwise the first messages of a schedule would wait for an unrelated timer."""
    begun: list[bool] = []
    ticks: list[bool] = []

    def tick(_now: int) -> float:
        ticks.append(bool(begun))
        if begun:
            loop.stop()
        return math.inf

    loop.tick = tick
    loop.soon(lambda: begun.append(True))
    loop.run()  # without a timer, a wait would never end
    assert ticks == [True]


def test_a_tick_is_called_again_at_its_time(loop: EpollLoop) -> None:
    times: list[int] = []

    def tick(now: int) -> float:
        if not times or now >= times[-1]:
            times.append(now + 2_000_000)
        if len(times) == 4:
            loop.stop()
        return times[-1]

    loop.tick = tick
    loop.run()
    assert len(times) == 4


def test_a_socket_is_served_until_it_is_forgotten(loop: EpollLoop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = Reader(loop, ours)
        theirs.send(b"hello")
        loop.run()
        assert reader.received == b"hello"
        loop.forget(reader)
        theirs.send(b"more")
        loop.callLater(0.005, loop.stop)
        loop.run()
        assert reader.received == b"hello"


def test_closing_the_loop_ends_the_sockets() -> None:
    loop = EpollLoop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = Reader(loop, ours)
        loop.close()
        assert reader.lost is not None


def test_a_signal_is_handled_in_the_loop_and_wakes_it(loop: EpollLoop) -> None:
    before = signal.getsignal(signal.SIGUSR2)
    try:
        loop.on_signal(signal.SIGUSR2, loop.stop)
        loop.soon(lambda: os.kill(os.getpid(), signal.SIGUSR2))
        loop.run()
    finally:
        signal.signal(signal.SIGUSR2, before)
