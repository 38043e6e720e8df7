"""A flood on the fast path gets one turn per round: other clients get replies, and the reactor's timers run.

Progress is counted and never timed: so many replies arrive during the flood, and the flood must have continued.
"""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.contract.matrix import data, exactly
from tests.daemon import SECONDS, Daemon, eventually
from tests.fastpath.clients import configuration, connect, counted, reset

pytestmark = pytest.mark.xdist_group("cpu")  # each uses a whole processor: never two at a time

ANSWERS = 300


class Flood(threading.Thread):
    """Repeats an action until it is stopped; its count shows the progress."""

    def __init__(self, what: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.times = 0
        self._what = what
        self._wrong: BaseException | None = None
        self._end = threading.Event()

    def run(self) -> None:
        try:
            while not self._end.is_set():
                self._what()
                self.times += 1
        except BaseException as wrong:
            self._wrong = wrong

    def over(self) -> None:
        self._end.set()
        self.join(SECONDS)
        if self._wrong is not None:
            raise self._wrong
        assert not self.is_alive()


@contextmanager
def floods(*what: Callable[[], object]) -> Iterator[list[Flood]]:
    """Run all of these at once; each must make progress before, during and until the end of the block."""
    made = [Flood(one) for one in what]
    for flood in made:
        flood.start()
    assert eventually(lambda: all(flood.times for flood in made))
    before = [flood.times for flood in made]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        yield made
        assert eventually(lambda: all(flood.times > times for flood, times in zip(made, before, strict=True)))
    finally:
        sys.setswitchinterval(interval)
        for flood in made:
            flood.over()


def flood_of_bytes(client: socket.socket) -> Callable[[], None]:
    """Send as much as the connection accepts, in both directions."""
    words = data()[: 1 << 18]
    pending = 0

    def send() -> None:
        nonlocal pending
        client.sendall(words[: 1 << 16])
        pending += 1 << 16
        while pending > 1 << 17:
            pending -= len(client.recv(1 << 17))

    return send


def flood_of_connections(daemon: Daemon, scheme: str) -> Callable[[], None]:
    place = daemon.place("echo", scheme)

    def come_and_go() -> None:
        reset(connect(place))

    return come_and_go


def others_are_served(daemon: Daemon) -> None:
    """Replies on existing and new connections; a time limit that is due; the plain path."""
    silent = connect(daemon.place("timed", "tcp"))
    with connect(daemon.place("echo", "tcp")) as here, connect(daemon.place("upper", "unix")) as there, silent:
        for number in range(ANSWERS):
            words = data()[number : number + 50]
            here.sendall(words)
            there.sendall(words)
            assert exactly(here, 50) == words
            assert exactly(there, 50) == words.upper()
            if number % 100 == 0:  # not more often: each waits for a full backlog
                with connect(daemon.place("echo", "unix")) as new, connect(daemon.place("ack", "tcp")) as plain:
                    new.sendall(words)
                    assert exactly(new, 50) == words
                    plain.sendall(words)
                    plain.shutdown(socket.SHUT_WR)
                    assert exactly(plain, 8) == b"received"
        assert silent.recv(1) == b"", "its time limit was reached, by a timer of the reactor"


@pytest.fixture
def daemon():
    config = configuration("auto", "echo", "upper", "ack", connections=9000, per_client=9000)
    config += "\n" + configuration("auto", "timed:echo", idle="500ms").partition("\n\n")[2]
    with Daemon(config) as running:
        yield running
        running.check()
        assert running.stop() == 0


@pytest.mark.slow
def test_a_flood_on_one_connection_delays_no_client(daemon):
    with (
        connect(daemon.place("echo", "tcp")) as flooding,
        connect(daemon.place("echo", "unix")) as too,
        floods(flood_of_bytes(flooding), flood_of_bytes(too)),
    ):
        others_are_served(daemon)
    assert counted(daemon, "timed")["closed:idle"] == 1


@pytest.mark.slow
def test_a_flood_of_connections_delays_no_client(daemon):
    with floods(flood_of_connections(daemon, "tcp"), flood_of_connections(daemon, "unix")):
        others_are_served(daemon)
    assert counted(daemon, "timed")["closed:idle"] == 1


def test_a_client_that_sends_and_does_not_read_delays_no_client(daemon):
    with connect(daemon.place("echo", "tcp")) as stuck:
        stuck.setblocking(False)

        def push() -> None:
            try:
                stuck.send(data()[: 1 << 16])
            except BlockingIOError:
                pass

        with floods(push):
            others_are_served(daemon)


def test_a_stop_under_a_flood_is_orderly(daemon):
    """The signal arrives through a pipe of the reactor, one of many descriptors that are always ready."""
    with connect(daemon.place("echo", "tcp")) as flooding:
        ends: list[BaseException] = []
        flood = flood_of_bytes(flooding)

        def until_the_end() -> None:
            try:
                flood()
            except OSError as end:
                ends.append(end)
                raise

        thread = Flood(until_the_end)
        thread.start()
        assert eventually(lambda: thread.times > 10)
        daemon.process.terminate()
        daemon.stderr.wait_for("stopping: 1 connection has 10 s to end")
        daemon.process.terminate()
        assert daemon.wait() == 0
        with pytest.raises(OSError, match=r"\[Errno"):
            thread.over()
    assert len(ends) == 1
    assert counted(daemon, "echo")["closed:drain"] == 1
