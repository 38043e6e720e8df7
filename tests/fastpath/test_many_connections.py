"""Thousands of different connections: the daemon ends with the resources it began with, and with exact counters."""

import random
import select
import socket
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pytest

from echod.fastpath.pipes import SPARE
from tests.contract.matrix import data, exactly, rest
from tests.daemon import SECONDS, Daemon, eventually
from tests.fastpath.clients import RESET, configuration, connect, counted, held, pipes

pytestmark = pytest.mark.xdist_group("cpu")  # each uses a whole processor: never two at a time

MIB: Final = 1 << 20
MANY: Final = 30_000  # `make soak` opens millions
HELD: Final = 200  # connections that are open at once, in addition to the current one
STUCK: Final = 20  # of them, stalled
SOURCES: Final = [f"127.0.0.{number}" for number in range(1, 65)]  # or all ports of one would be in TIME_WAIT

Behaviour = Callable[["Story", socket.socket], None]


@dataclass
class Expected:
    """The expected counters of an address; `some` are bytes of which any number may have arrived."""

    accepted: int = 0
    byte_count: int = 0
    some: int = 0
    closed: Counter[str] = field(default_factory=Counter)


@dataclass
class Stuck:
    """A client that sent until nothing was accepted, and has read nothing."""

    client: socket.socket
    sent: int
    expected: Expected


class Story:
    """Random clients of one daemon, one after the other, except for some that stay."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.daemon = daemon
        self.random = random.Random(seed)
        self.expected = {"tcp": Expected(), "unix": Expected()}
        self.places = {scheme: daemon.place("echo", scheme) for scheme in self.expected}
        self.held: deque[tuple[socket.socket, Expected]] = deque()
        self.stuck: deque[Stuck] = deque()
        self.now = self.expected["tcp"]

    def happen(self, number: int) -> None:
        """Run so many connections; none is left open."""
        behaviours: list[Behaviour] = list(BEHAVIOURS)
        weights = list(BEHAVIOURS.values())
        for scheme, behaviour in zip(
            self.random.choices(["tcp", "unix"], [3, 1], k=number),
            self.random.choices(behaviours, weights, k=number),
            strict=True,
        ):
            self.now = self.expected[scheme]
            self.now.accepted += 1
            host = self.random.choice(SOURCES) if scheme == "tcp" else None
            client = connect(self.places[scheme], narrow=behaviour is Story.gets_stuck, host=host)
            behaviour(self, client)
        while self.held:
            self.let_go()
        while self.stuck:
            self.relieve()

    def words(self) -> bytes:
        begin = self.random.randrange(MIB)
        return data()[begin : begin + int(self.random.paretovariate(0.6) * 10) % 20_000 + 1]

    def talk(self, client: socket.socket) -> None:
        """Some words, and their echo."""
        said = self.words()
        self.now.byte_count += len(said)
        client.sendall(said)
        assert exactly(client, len(said)) == said

    def end(self, client: socket.socket, reason: str) -> None:
        self.now.closed[reason] += 1
        client.close()

    def reset(self, client: socket.socket) -> None:
        """A Unix socket has no RST: without unread data, the daemon sees a FIN."""
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.end(client, "lost" if client.family == socket.AF_INET else "done")

    # the actions of a client

    def talks(self, client: socket.socket) -> None:
        for _ in range(self.random.randrange(1, 4)):
            self.talk(client)
        self.end(client, "done")

    def finishes_first(self, client: socket.socket) -> None:
        said = self.words()
        self.now.byte_count += len(said)
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == said
        self.end(client, "done")

    def says_nothing(self, client: socket.socket) -> None:
        self.end(client, "done")

    def resets_at_once(self, client: socket.socket) -> None:
        self.reset(client)

    def resets_after_words(self, client: socket.socket) -> None:
        self.talk(client)
        self.reset(client)

    def does_not_read(self, client: socket.socket) -> None:
        """Closes with an unread reply."""
        said = self.words()[:500]  # one piece, so that it arrives and returns complete
        self.now.byte_count += len(said)
        client.sendall(said)
        assert select.select([client], [], [], SECONDS)[0]
        self.end(client, "lost")

    def stays(self, client: socket.socket) -> None:
        self.held.append((client, self.now))
        if len(self.held) > HELD:
            self.let_go()

    def let_go(self) -> None:
        client, self.now = self.held.popleft()
        self.talk(client)
        self.end(client, "done")

    def gets_stuck(self, client: socket.socket) -> None:
        client.setblocking(False)
        sent = 0
        try:
            while True:
                sent += client.send(data()[sent : sent + 65_536])
        except BlockingIOError:
            pass
        self.stuck.append(Stuck(client, sent, self.now))
        if len(self.stuck) > STUCK:
            self.relieve()

    def relieve(self) -> None:
        """A stalled client continues to send, then reads and gets everything, or leaves."""
        one = self.stuck.popleft()
        self.now = one.expected
        if self.random.random() < 0.5:
            try:
                while True:
                    one.sent += one.client.send(data()[one.sent : one.sent + 65_536])
            except BlockingIOError:
                pass
            one.client.settimeout(SECONDS)
            one.client.shutdown(socket.SHUT_WR)
            heard = 0
            while piece := one.client.recv(MIB):
                assert piece == data()[heard : heard + len(piece)]
                heard += len(piece)
            assert heard == one.sent
            self.now.byte_count += one.sent
            self.end(one.client, "done")
        else:
            self.now.some += one.sent
            one.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.end(one.client, "lost")


BEHAVIOURS: Final[dict[Behaviour, int]] = {
    Story.talks: 300,
    Story.finishes_first: 300,
    Story.says_nothing: 100,
    Story.resets_at_once: 100,
    Story.resets_after_words: 100,
    Story.does_not_read: 100,
    Story.stays: 100,
    Story.gets_stuck: 4,
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_daemon_ends_with_the_resources_it_began_with():
    with Daemon(configuration("auto", "echo", per_client=20_000)) as daemon:
        pid = daemon.process.pid
        fresh, without_clients = pipes(pid), held(pid)["socket"]
        story = Story(daemon, seed=46)
        story.happen(2_000)  # to fill caches: spare pipes, arrays, Python's own pools
        assert eventually(lambda: held(pid)["socket"] == without_clients), held(pid)
        begun, memory = held(pid), daemon.memory()
        story.happen(MANY)
        assert eventually(lambda: held(pid)["socket"] == without_clients), held(pid)
        ended = held(pid)
        ended.subtract(begun)
        del ended["pipe"]
        assert not +ended
        assert pipes(pid) <= fresh + len(story.expected) * SPARE
        assert daemon.memory() <= memory + 8 * MIB
        daemon.check()
        lines = len(daemon.stderr.text)
        for scheme, expected in story.expected.items():
            figures = counted(daemon, "echo", scheme)
            assert figures.pop("accepted") == expected.accepted
            assert expected.byte_count <= figures.pop("bytes_out") <= figures["bytes_in"]
            assert figures.pop("bytes_in") <= expected.byte_count + expected.some
            assert figures == {f"closed:{reason}": count for reason, count in expected.closed.items()}
        assert len(daemon.stderr.text) == lines + 1, "more lines than the one about its end"
