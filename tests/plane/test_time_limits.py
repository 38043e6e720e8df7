"""The limits of time end the same connections on the plane as on the plain way, and whatever moves has its time anew.

No duration is asserted here: only who is ended, why, and in which order. tests/plane/test_lane.py moves a clock.
"""

import select
import socket
from contextlib import ExitStack
from typing import Final

import pytest

from tests.contract.room import MIB, data, exactly
from tests.daemon import Daemon, eventually
from tests.plane.room import PLANES, Talker, configuration, connect, counted, reset

CLIENTS: Final = 20
PIECE: Final = 300_000  # most of what a Unix socket holds, and less would not make it take more


def is_ended(client: socket.socket) -> bool:
    """Whether the daemon has ended it, however many octets wait to be read."""
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(0))


def say(client: socket.socket) -> None:
    client.sendall(b".")
    assert exactly(client, 1) == b"."


def fill(client: socket.socket) -> Talker:
    """Send until nothing is taken."""
    talker = Talker(client)
    talker.say(data()[: 8 * MIB])
    while talker.push() or select.select([], [client], [], 0.1)[1]:
        pass
    return talker


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_silence_ends_at_idle_and_a_word_begins_it_anew(plane, scheme):
    config = configuration(plane, "echo", "upper", idle="1500ms", stall="60s")
    config += "\n" + configuration(plane, "unlimited:echo", idle="0").partition("\n\n")[2]
    with Daemon(config) as daemon, ExitStack() as stack:

        def client(service: str) -> socket.socket:
            return stack.enter_context(connect(daemon.place(service, scheme)))

        silent = [client(service) for service in ("echo", "upper") for _ in range(CLIENTS)]
        talks, unlimited = client("echo"), client("unlimited")
        for begun in silent[::2]:
            begun.sendall(b".")  # and that is all it ever says
        while not all(is_ended(one) for one in silent):
            say(talks)
            select.select([], [], [], 0.05)
        say(talks)
        assert eventually(lambda: is_ended(talks))
        say(unlimited)
        unlimited.close()
        counters = [counted(daemon, service, scheme) for service in ("echo", "upper", "unlimited")]
        assert [one.get("closed:idle", 0) for one in counters] == [CLIENTS + 1, CLIENTS, 0]
        assert [one["accepted"] for one in counters] == [CLIENTS + 1, CLIENTS, 1]
        daemon.check()


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_who_takes_nothing_is_reset_at_stall_and_who_takes_a_little_is_not(plane, scheme):
    """Silence is none of it, however long: these limits say `idle` is ten times `stall`."""
    services = ("echo", "upper")
    with Daemon(configuration(plane, *services, stall="2s", idle="20s")) as daemon, ExitStack() as stack:

        def client(service: str) -> socket.socket:
            return stack.enter_context(connect(daemon.place(service, scheme), narrow=True))

        silent = [client(service) for service in services]
        stuck = [fill(client(service)).socket for service in services for _ in range(3)]
        slow = {service: fill(client(service)) for service in services}
        heard = dict.fromkeys(slow, 0)
        while not all(is_ended(one) for one in stuck):
            for service, talker in slow.items():
                if len(talker.waiting) < MIB:
                    talker.waiting += data()[heard[service] % MIB :][: 8 * MIB]
                came = talker.hear(PIECE)
                heard[service] += len(came)
                assert len(came) == PIECE
            select.select([], [], [], 0.05)
        for talker in slow.values():
            assert talker.hear(1)
            reset(talker.socket)
        for one in silent:
            say(one)
            one.close()
        for service in services:
            figures = counted(daemon, service, scheme)
            ends = {key: count for key, count in figures.items() if key.startswith("closed")}
            assert ends == {"closed:stall": 3, "closed:lost": 1, "closed:done": 1}
        daemon.check()
