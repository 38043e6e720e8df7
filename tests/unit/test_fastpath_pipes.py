"""Pipes: pending bytes reach only their connection, the number of pipes is bounded, and memory is used above it."""

import contextlib
import errno
import fcntl
import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from echod.fastpath import pipes as module
from echod.fastpath import syscalls
from echod.fastpath.pipes import CAPACITY, SPARE, STUCK, Pipe, Pipes, Waiting
from tests.fastpath.clients import pipes as pipes_of

pytestmark = pytest.mark.skipif(not syscalls.available, reason="this machine has no splice")

DATA: Final = random.Random(1).randbytes(CAPACITY)
FEW: Final = {"STUCK": 3, "SPARE": 2}  # so that a machine of a few steps meets both bounds


def fails(number: int) -> Callable[..., Any]:
    """A call that always fails."""

    def call(*_: object) -> Any:
        raise OSError(number, os.strerror(number))

    return call


class Room:
    """The pipes of one listener, and the shared pipe."""

    def __init__(self, size: int = 0) -> None:
        self.before = pipes_of(os.getpid())
        self.renewed = 0
        self.current: Pipe = (-1, -1)
        self.waiting: list[Waiting] = []
        self.pipes = Pipes(size, self._use)

    def _use(self, pipe: Pipe) -> None:
        self.renewed += 1
        self.current = pipe

    def fill(self, words: bytes) -> None:
        """Fill the shared pipe, as a splice from a socket does."""
        assert os.write(self.current[1], words) == len(words)

    def wait(self, words: bytes) -> Waiting:
        """Keep these bytes as pending output."""
        self.fill(words)
        waiting = self.pipes.keep(len(words))
        self.waiting.append(waiting)
        return waiting

    def give_back(self, waiting: Waiting) -> None:
        """The pending output has been sent."""
        self.waiting.remove(waiting)
        self.pipes.give_back(waiting)

    def drop(self, waiting: Waiting) -> None:
        """The pending output is dropped."""
        self.waiting.remove(waiting)
        self.pipes.drop(waiting)

    def held(self) -> int:
        """The number of open pipes."""
        return pipes_of(os.getpid()) - self.before


@contextmanager
def room(size: int = 0) -> Iterator[Room]:
    """Pipes that must all be closed at the end."""
    made = Room(size)
    yield made
    for waiting in list(made.waiting):
        made.drop(waiting)
    made.pipes.close()
    assert made.held() == 0


@contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A non-blocking TCP socket with a small buffer, and its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours = socket.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.connect(listening.getsockname())
        theirs, _ = listening.accept()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(10)
        yield ours, theirs


def test_one_pipe_is_enough_while_no_connection_blocks():
    with room() as made:
        assert (made.held(), made.renewed) == (1, 1)


@pytest.mark.parametrize("ends", [Room.give_back, Room.drop])
def test_a_blocked_connection_has_a_pipe_until_all_is_sent(ends):
    with room() as made:
        mine = made.current
        waiting = made.wait(b"mine")
        assert waiting.pipe == mine != made.current
        other = made.wait(b"others")
        assert (made.held(), made.renewed) == (3, 3)
        assert (waiting.content(), other.content()) == (b"mine", b"others")
        ends(made, waiting)
        ends(made, other)
        assert made.held() <= 1 + SPARE


def test_an_emptied_pipe_is_reused():
    with room() as made:
        waiting = made.wait(b"once")
        waiting.content()
        made.give_back(waiting)
        held = made.held()
        made.wait(b"again").content()
        assert made.held() == held


def test_a_pipe_with_dropped_bytes_is_not_reused():
    """Its bytes would reach another connection."""
    with room() as made:
        made.drop(made.wait(b"a secret"))
        for _ in range(2 * SPARE):
            waiting = made.wait(b"?")
            assert waiting.content() == b"?"
            made.give_back(waiting)


def test_dropped_bytes_reach_no_connection():
    with room() as made:
        made.fill(b"a secret")
        made.pipes.empty(8)
        assert made.wait(b"next").content() == b"next"


def test_pending_output_above_the_maximum_of_pipes_is_kept_in_memory():
    with room() as made:
        waiting = [made.wait(bytes([number % 256]) * 10) for number in range(STUCK + 50)]
        assert made.held() == STUCK + 1
        assert [one.pipe is None for one in waiting] == [False] * STUCK + [True] * 50
        assert [one.content() for one in waiting] == [bytes([number % 256]) * 10 for number in range(STUCK + 50)]
        for one in waiting:
            made.give_back(one)
        assert made.held() == 1 + SPARE
        assert made.wait(b"a pipe again").pipe is not None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_pending_output_without_a_free_pipe_is_kept_in_memory(number):
    with room() as made, mock.patch.object(os, "pipe2", fails(number)):
        for words in (b"first", b"second", DATA):
            waiting = made.wait(words)
            assert waiting.pipe is None
            assert waiting.content() == words
            made.give_back(waiting)
        assert (made.held(), made.renewed) == (1, 1)


def test_a_refused_pipe_size_falls_back_to_the_default():
    with mock.patch.object(fcntl, "fcntl", fails(errno.EPERM)), room(1 << 20) as made:
        assert made.wait(DATA[:4096]).content() == DATA[:4096]


@pytest.mark.parametrize("size", [0, CAPACITY, 4 * CAPACITY])
def test_a_pipe_holds_the_bytes_of_one_read(size):
    with room(size) as made:
        granted = fcntl.fcntl(made.current[0], fcntl.F_GETPIPE_SZ)
        assert granted >= max(size, CAPACITY)
        made.wait(b"x")
        assert fcntl.fcntl(made.current[0], fcntl.F_GETPIPE_SZ) == granted


@pytest.mark.parametrize("size", [1 << 31, 1 << 40])
def test_an_impossible_pipe_size_is_not_an_error(size):
    with room(size) as made:
        assert made.held() == 1


def test_pipes_are_not_inherited_and_do_not_block():
    with room() as made:
        for end in made.current:
            assert not os.get_inheritable(end)
            assert not os.get_blocking(end)


@pytest.mark.parametrize("in_memory", [False, True])
def test_pending_output_is_sent_in_the_pieces_that_the_socket_accepts(in_memory):
    with room() as made, connection() as (ours, theirs):
        words = DATA[:30_000]
        waiting = Waiting(30_000, None, memoryview(b"gone already" + words)) if in_memory else made.wait(words)
        made.waiting = [waiting]
        came = b""
        while len(came) < len(words):
            with contextlib.suppress(BlockingIOError):
                while waiting.left:
                    waiting.send(ours.fileno())
            came += theirs.recv(CAPACITY)
            assert len(came) <= len(words) - waiting.left
        assert came == words


@pytest.mark.parametrize("in_memory", [False, True])
def test_partly_sent_output_is_handed_over_from_its_position(in_memory):
    with room() as made, connection() as (ours, _):
        waiting = Waiting(CAPACITY, None, memoryview(DATA)) if in_memory else made.wait(DATA)
        made.waiting = [waiting]
        waiting.send(ours.fileno())
        assert 0 < waiting.left < CAPACITY
        assert waiting.content() == DATA[-waiting.left :]


def test_a_closed_peer_is_an_error():
    with room() as made, connection() as (ours, _):
        waiting = made.wait(b"hello?")
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(BrokenPipeError):
            waiting.send(ours.fileno())
        made.drop(waiting)


@dataclass
class Stuck:
    """One connection: its pending output, and both ends of its socket."""

    words: bytes
    waiting: Waiting
    ours: socket.socket
    theirs: socket.socket
    came: bytes = b""


class AnyOrder(RuleBasedStateMachine):
    """Connections block, are drained in pieces, are handed over and close, while pipes are available or not."""

    stuck = Bundle("stuck")

    def __init__(self) -> None:
        super().__init__()
        self.patches = [mock.patch.object(module, name, value) for name, value in FEW.items()]
        for patch in self.patches:
            patch.start()
        self.room = Room()
        self.all: list[Stuck] = []
        self.refusing: Any = None

    def teardown(self) -> None:
        self.more_descriptors()
        for one in list(self.all):
            self.drains(one)
        self.room.pipes.close()
        assert self.room.held() == 0
        for patch in self.patches:
            patch.stop()

    @rule(target=stuck, size=st.integers(1, CAPACITY), at=st.integers(0, 255))
    def gets_stuck(self, size: int, at: int) -> Stuck:
        words = (DATA[at:] + DATA[:at])[:size]
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        one = Stuck(words, self.room.wait(words), ours, theirs)
        self.all.append(one)
        return one

    @rule(one=stuck, size=st.integers(1, CAPACITY))
    def takes_some(self, one: Stuck, size: int) -> None:
        if one not in self.all:
            return
        try:
            if one.waiting.left:
                one.waiting.send(one.ours.fileno())
        except BlockingIOError:
            pass
        try:
            one.came += one.theirs.recv(size)
        except BlockingIOError:
            pass

    @rule(one=consumes(stuck))
    def drains(self, one: Stuck) -> None:
        while len(one.came) < len(one.words):
            self.takes_some(one, CAPACITY)
        assert one.came == one.words
        assert one.waiting.left == 0
        self.room.give_back(one.waiting)
        self.forget(one)

    @rule(one=consumes(stuck))
    def is_handed_on(self, one: Stuck) -> None:
        left = one.waiting.left
        if left:
            assert one.waiting.content() == one.words[-left:]
        self.room.give_back(one.waiting)
        self.forget(one)

    @rule(one=consumes(stuck))
    def vanishes(self, one: Stuck) -> None:
        self.room.drop(one.waiting)
        self.forget(one)

    def forget(self, one: Stuck) -> None:
        one.ours.close()
        one.theirs.close()
        self.all.remove(one)

    @rule()
    def fewer_descriptors(self) -> None:
        if self.refusing is None:
            self.refusing = mock.patch.object(os, "pipe2", fails(errno.EMFILE))
            self.refusing.start()

    @rule()
    def more_descriptors(self) -> None:
        if self.refusing is not None:
            self.refusing.stop()
            self.refusing = None

    @invariant()
    def pipes_are_bounded(self) -> None:
        in_pipes = len([one for one in self.all if one.waiting.pipe is not None])
        assert in_pipes <= FEW["STUCK"]
        assert 1 + in_pipes <= self.room.held() <= 1 + in_pipes + FEW["SPARE"]
        assert len({one.waiting.pipe for one in self.all} - {None}) == in_pipes
        assert self.room.current not in [one.waiting.pipe for one in self.all]


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
