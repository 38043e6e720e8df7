"""Time limits close the same connections on the fast path as on the plain path, and traffic restarts the time.

No duration is asserted here: only which are closed, why, and in which order. A client that must stay has six seconds
for its next byte, on a busy machine. tests/fastpath/test_lane.py moves a clock.
"""

import select
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Final

from tests.contract.matrix import MIB, data, exactly
from tests.daemon import Daemon, eventually, is_waiting
from tests.fastpath.clients import Talker, both, connect, counted, ended, reset

SCHEMES: Final = ("tcp", "unix")
CLIENTS: Final = 20  # of each kind
PIECE: Final = 300_000  # most of a Unix socket's buffer: after less it would accept no more


def say(client: socket.socket) -> None:
    client.sendall(b".")
    assert exactly(client, 1) == b"."


def sip(talker: Talker) -> None:
    """Read up to PIECE bytes that are there, and send more than it reads."""
    if len(talker.waiting) < MIB:
        talker.waiting += data()[: 8 * MIB]
    talker.push()
    left = PIECE
    with suppress(BlockingIOError):
        while left > 0:
            came = talker.socket.recv(left)
            assert came, "the daemon has closed it"
            left -= len(came)


class Clients:
    """Clients of both daemons, over both kinds of socket, that are all used in the same way."""

    def __init__(self, daemons: Mapping[str, Daemon], stack: ExitStack) -> None:
        self.daemons = daemons
        self.stack = stack

    def of(self, *services: str, narrow: bool = False) -> list[socket.socket]:
        """One client of each service, scheme and plane."""
        places = [
            daemon.place(service, scheme)
            for daemon in self.daemons.values()
            for scheme in SCHEMES
            for service in services
        ]
        return [self.stack.enter_context(connect(place, narrow=narrow)) for place in places]

    def fill(self, client: socket.socket) -> Talker:
        """Send until nothing is accepted, and the daemons wait."""
        talker = Talker(client)
        talker.say(data()[: 8 * MIB])
        while talker.push() or select.select([], [client], [], 0.1)[1] or not self.daemons_wait():
            pass
        return talker

    def daemons_wait(self) -> bool:
        return all(is_waiting(daemon.process.pid) for daemon in self.daemons.values())

    def ends(self, service: str) -> list[dict[str, int]]:
        """The counters of closes, which must be equal for every scheme and plane."""
        figures = [counted(daemon, service, scheme) for daemon in self.daemons.values() for scheme in SCHEMES]
        return [{key: count for key, count in one.items() if key.startswith("closed")} for one in figures]


def test_an_idle_client_is_closed_at_idle_and_a_byte_restarts_it():
    with ExitStack() as stack:
        daemons = stack.enter_context(both("echo", "upper", idle="6s"))
        clients = Clients(daemons, stack)
        silent = [client for _ in range(CLIENTS) for client in clients.of("echo", "upper")]
        talking = clients.of("echo")
        for begun in silent[::3]:
            begun.sendall(b".")  # the only byte that it ever sends
        while not all(ended(one, 0) for one in silent):
            for client in talking:
                say(client)
            select.select([], [], [], 0.05)
        for client in talking:
            say(client)
        assert eventually(lambda: all(ended(client, 0) for client in talking))
        assert clients.ends("echo") == [{"closed:idle": CLIENTS + 1}] * 4
        assert clients.ends("upper") == [{"closed:idle": CLIENTS}] * 4
        for daemon in daemons.values():
            daemon.check()


def test_a_client_that_reads_nothing_is_reset_at_stall_and_a_slow_one_is_not():
    """Idle time does not count: with these limits `idle` is far longer than `stall`."""
    with ExitStack() as stack:
        daemons = stack.enter_context(both("echo", "upper", stall="6s", idle="1h"))
        clients = Clients(daemons, stack)
        silent = clients.of("echo", "upper")
        stuck = [clients.fill(client).socket for _ in range(2) for client in clients.of("echo", "upper", narrow=True)]
        slow = [Talker(client) for client in clients.of("echo", "upper", narrow=True)]
        while not all(ended(one, 0) for one in stuck):
            for talker in slow:
                sip(talker)
            select.select([], [], [], 0.05)
        for talker in slow:
            assert talker.hear(1)
            reset(talker.socket)
        for client in silent:
            say(client)
            client.close()
        for service in ("echo", "upper"):
            assert clients.ends(service) == [{"closed:stall": 2, "closed:lost": 1, "closed:done": 1}] * 4
        for daemon in daemons.values():
            daemon.check()
