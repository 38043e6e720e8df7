"""The loops, in Python and with the native loop: they serve every ready descriptor in each round, and let the
reactor run when it has work.
"""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from select import EPOLLIN, EPOLLOUT
from typing import Any, Final

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor

from echod.fastpath.loop import Loop
from echod.fastpath.native_loop import NativeLoop
from tests.fastpath.listener import needs_the_native_loop
from tests.fastpath.reactors import REACTORS, failures, reactor_of, turn_until

NESTED: Final = EPollReactor


class Ends:
    """A pipe with numbers as ends, and the calls that the loop made for its read end."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)
        self.calls: list[tuple[int, int]] = []

    def fill(self, words: bytes = b"!") -> None:
        os.write(self.write, words)

    def see(self, descriptor: int, events: int) -> None:
        self.calls.append((descriptor, events))

    def take(self, descriptor: int, events: int) -> None:
        self.see(descriptor, events)
        os.read(descriptor, 1)

    def close(self) -> None:
        for end in (self.read, self.write):
            try:
                os.close(end)
            except OSError:
                pass  # the test did


class Plane:
    """A loop and its reactor."""

    def __init__(self, reactor: Any, make: type[Loop]) -> None:
        self.reactor = reactor
        self.loop = make(reactor)
        self.pipes: list[Ends] = []

    def pipe(self, ready: Callable[[int, int], None] | None = None) -> Ends:
        """A watched pipe. By default its content is read when it is ready."""
        made = Ends()
        self.pipes.append(made)
        self.loop.watch(made.read, EPOLLIN, ready or made.take)
        return made

    def turn(self) -> None:
        """One turn of the reactor, without waiting."""
        self.reactor.iterate(0)


@contextmanager
def plane_of(kind: type[Any], make: type[Loop]) -> Iterator[Plane]:
    with reactor_of(kind) as reactor:
        made = Plane(reactor, make)
        made.loop.start()
        try:
            yield made
        finally:
            made.loop.stop()
            for pipe in made.pipes:
                pipe.close()


@pytest.fixture(params=[Loop, pytest.param(NativeLoop, marks=needs_the_native_loop)], ids=["python", "native"])
def make(request):
    return request.param


@pytest.fixture(params=REACTORS, ids=lambda kind: kind.__name__)
def plane(request, make):
    with plane_of(request.param, make) as made:
        yield made


@pytest.fixture
def nested(make):
    """A loop that waits instead of the reactor."""
    with plane_of(NESTED, make) as made:
        yield made


def test_a_ready_descriptor_is_served(plane):
    one, other = plane.pipe(), plane.pipe()
    plane.turn()
    assert one.calls == []
    one.fill()
    plane.turn()
    assert (one.calls, other.calls) == ([(one.read, EPOLLIN)], [])


def test_unfinished_work_is_reported_again(plane):
    pipe = plane.pipe()
    pipe.fill(b"12345")
    turn_until(plane.reactor, lambda: len(pipe.calls) == 5)
    plane.turn()
    assert len(pipe.calls) == 5


def test_changed_events_call_another_function(plane):
    pipe = plane.pipe()
    seen = []
    plane.loop.watch(pipe.write, EPOLLIN, pipe.see)
    plane.loop.change(pipe.write, EPOLLOUT, lambda *what: seen.append(what))
    turn_until(plane.reactor, lambda: seen)
    assert seen[0] == (pipe.write, EPOLLOUT)
    assert pipe.calls == []


def test_a_forgotten_descriptor_is_not_served_and_stays_open(plane):
    pipe = plane.pipe()
    pipe.fill()
    plane.loop.forget(pipe.read)
    plane.turn()
    assert pipe.calls == []
    assert os.read(pipe.read, 1) == b"!"


def test_the_number_of_a_closed_socket_forgets_no_other_descriptor(plane):
    """The last descriptor may be the loop's own timer; without it the loop would never let the reactor run again."""
    pipe = plane.pipe()
    plane.loop.forget(-1)
    pipe.fill()
    turn_until(plane.reactor, lambda: pipe.calls)


def test_a_closed_descriptor_is_forgotten(plane):
    """A new descriptor with the same number has its own functions."""
    first = plane.pipe()
    first.fill()
    os.close(first.read)
    plane.turn()
    second = plane.pipe()
    assert second.read == first.read
    plane.turn()
    second.fill()
    plane.turn()
    assert (first.calls, second.calls) == ([], [(second.read, EPOLLIN)])


def test_a_number_reused_within_a_round_is_not_confused_with_its_predecessor(plane):
    """Half of the descriptors are closed in their call, and others opened with the same numbers."""
    again: list[Ends] = []

    def close_and_open(descriptor: int, _events: int) -> None:
        os.close(descriptor)
        again.append(plane.pipe())

    before = [plane.pipe(close_and_open) if number % 2 else plane.pipe() for number in range(100)]
    for pipe in before:
        pipe.fill()
    turn_until(plane.reactor, lambda: len(again) == 50)
    plane.turn()
    assert {pipe.read for pipe in again} & {pipe.read for pipe in before}
    assert [len(pipe.calls) for pipe in before] == [0, 1] * 50 or [len(pipe.calls) for pipe in before] == [1, 0] * 50
    assert [pipe.calls for pipe in again] == [[]] * 50


def test_more_descriptors_than_a_round_holds_are_all_served(plane):
    pipes = [plane.pipe() for _ in range(300)]
    for pipe in pipes:
        pipe.fill()
    turn_until(plane.reactor, lambda: all(pipe.calls for pipe in pipes))
    assert all(len(pipe.calls) == 1 for pipe in pipes)


def test_the_first_descriptor_may_serve_all_of_its_kind_in_one_call(plane):
    rounds: list[list[int]] = []

    def together(events: list[tuple[int, int]]) -> None:
        rounds.append([descriptor for descriptor, _ in events])
        for descriptor, happened in events:
            plane.loop.ready[descriptor](descriptor, happened)

    like, unlike = [plane.pipe() for _ in range(2)], [plane.pipe() for _ in range(2)]
    for pipe in like:
        plane.loop.change(pipe.read, EPOLLIN, pipe.take, together)

    # Turns that do not wait set no timer of the loop, which would be in a round beside the pipes.
    for ready in (like, unlike, [*unlike, *like]):
        for pipe in ready:
            pipe.fill()
        plane.turn()
        assert not select.select([pipe.read for pipe in ready], [], [], 0)[0]
    assert all(len(pipe.calls) == 2 for pipe in [*like, *unlike])
    assert set(rounds[0]) == {pipe.read for pipe in like}
    rounds.clear()
    for pipe in like:
        plane.loop.change(pipe.read, EPOLLIN, pipe.take)
        pipe.fill()
    turn_until(plane.reactor, lambda: all(len(pipe.calls) == 3 for pipe in like))
    assert not rounds


# the reactor's turn


def test_timers_run_while_a_descriptor_is_always_ready(plane):
    pipe = plane.pipe()
    plane.loop.change(pipe.read, EPOLLIN, pipe.see)
    pipe.fill()
    calls: list[int] = []

    def fire() -> None:
        calls.append(len(pipe.calls))
        if len(calls) < 4:
            plane.reactor.callLater(0, fire)

    plane.reactor.callLater(0, fire)
    turn_until(plane.reactor, lambda: len(calls) == 4)
    assert calls == sorted(set(calls))  # the pipe was read between two timers


class Reader(FileDescriptor):
    """A reader of Twisted."""

    def __init__(self, reactor: Any, descriptor: int) -> None:
        super().__init__(reactor)
        self.descriptor = descriptor
        self.came = b""

    def fileno(self) -> int:
        return self.descriptor

    def doRead(self) -> None:
        self.came += os.read(self.descriptor, 1)


def test_the_reactor_reads_while_a_descriptor_is_always_ready(plane):
    flood = plane.pipe()
    plane.loop.change(flood.read, EPOLLIN, flood.see)
    flood.fill()
    pipe = Ends()
    plane.pipes.append(pipe)
    reader = Reader(plane.reactor, pipe.read)
    plane.reactor.addReader(reader)
    pipe.fill(b"Twisted")
    turn_until(plane.reactor, lambda: reader.came == b"Twisted")
    plane.reactor.removeReader(reader)


def test_the_reactor_is_woken_by_another_thread(nested):
    """While the loop waits without a timeout, as the reactor does if no timer is set."""
    woken = []
    ready = threading.Event()

    def wake() -> None:
        ready.wait(10)
        nested.reactor.callFromThread(woken.append, "now")

    thread = threading.Thread(target=wake)
    thread.start()
    ready.set()
    nested.loop.wait(None)
    nested.reactor.runUntilCurrent()
    thread.join()
    assert woken == ["now"]


def test_the_wait_times_out(nested):
    pipe = nested.pipe()
    nested.loop.wait(0.01)
    nested.loop.wait(0)
    assert pipe.calls == []


def test_a_wait_times_out_independently_of_the_previous_wait(nested):
    """The timerfd of a wait that ended early stays set; earlier timers are not late, and it expires once."""

    def interrupt(descriptor: int, _events: int) -> None:
        os.read(descriptor, 1)
        interrupted.append(True)
        nested.loop.yield_to_reactor()

    interrupted: list[bool] = []
    pipe = nested.pipe(interrupt)
    for first, then in ((1000.0, 0.01), (0.01, 0.02), (None, 0.01)):
        pipe.fill()
        nested.loop.wait(first)
        nested.loop.wait(then)  # the time limit of the test fails if it does not end
        assert not select.select([nested.loop], [], [], 0)[0]
    assert len(interrupted) == 3


def test_a_timeout_of_zero_serves_one_round(nested):
    pipe = nested.pipe()
    nested.loop.change(pipe.read, EPOLLIN, pipe.see)
    pipe.fill()
    nested.loop.wait(0)
    assert len(pipe.calls) == 1


def test_a_function_that_sets_a_timer_lets_the_reactor_run(nested):
    def set_timer(_descriptor: int, _events: int) -> None:
        os.read(pipe.read, 1)
        nested.reactor.callLater(0, done.append, True)
        nested.loop.yield_to_reactor()

    done: list[bool] = []
    pipe = nested.pipe(set_timer)
    pipe.fill()
    nested.loop.wait(None)  # would be for ever
    nested.reactor.runUntilCurrent()
    assert done == [True]


def test_the_reactor_has_its_own_wait_before_start_and_after_stop(make):
    with reactor_of(NESTED) as reactor:
        own = reactor.doIteration
        loop = make(reactor)
        assert reactor.doIteration == own
        loop.start()
        assert reactor.doIteration == loop.wait
        loop.stop()
        assert reactor.doIteration == reactor.doPoll
        reactor.iterate(0)


@pytest.mark.parametrize("kind", REACTORS[1:])
def test_with_another_reactor_the_loop_is_one_of_its_readers(make, kind):
    with reactor_of(kind) as reactor:
        before = set(reactor.getReaders())
        loop = make(reactor)
        loop.start()
        assert set(reactor.getReaders()) == before | {loop}
        assert loop.logPrefix() == "plane"
        loop.connectionLost(None)
        loop.stop()
        assert set(reactor.getReaders()) == before


def test_the_handler_of_a_signal_runs_during_a_wait(nested):
    """Its pipe ends the wait. Twisted's waker works in the same way."""

    def end(descriptor: int, _events: int) -> None:
        os.read(descriptor, 1)
        nested.loop.yield_to_reactor()

    pipe = nested.pipe(end)
    before = signal.signal(signal.SIGALRM, lambda *_: pipe.fill())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        nested.loop.wait(None)  # the time limit of the test fails if it does not end
    finally:
        signal.signal(signal.SIGALRM, before)


# bugs


def broken(_descriptor: int, _events: int) -> None:
    raise RuntimeError("a bug")


def test_a_function_that_raises_is_logged_once_and_the_others_continue(plane):
    with failures() as logged:
        wrong, right = plane.pipe(broken), [plane.pipe() for _ in range(10)]
        wrong.fill()
        for pipe in right:
            pipe.fill(b"!!")
        turn_until(plane.reactor, lambda: all(len(pipe.calls) == 2 for pipe in right))
        for _ in range(10):
            plane.turn()
        assert [event["descriptor"] for event in logged] == [wrong.read]


def test_a_descriptor_that_was_given_up_can_be_forgotten(plane):
    """A listener that stops forgets its connections in every state."""
    with failures() as logged:
        pipe = plane.pipe(broken)
        pipe.fill()
        turn_until(plane.reactor, lambda: logged)
    plane.loop.forget(pipe.read)
    plane.loop.watch(pipe.read, EPOLLIN, pipe.take)
    turn_until(plane.reactor, lambda: pipe.calls)


def test_a_function_that_raises_after_its_close_is_logged_once_and_the_others_continue(plane):
    def close_and_fail(descriptor: int, _events: int) -> None:
        os.close(descriptor)
        raise RuntimeError("a bug")

    with failures() as logged:
        wrong, right = [plane.pipe(close_and_fail) for _ in range(3)], [plane.pipe() for _ in range(10)]
        for pipe in [*wrong, *right]:
            pipe.fill()
        turn_until(plane.reactor, lambda: all(pipe.calls for pipe in right) and len(logged) >= 3)
        assert [event.get("descriptor") for event in logged] == [pipe.read for pipe in wrong]
    pipe = plane.pipe()
    assert pipe.read in [one.read for one in wrong]
    pipe.fill()
    turn_until(plane.reactor, lambda: pipe.calls)
    plane.loop.forget(pipe.read)
