"""Who sends and never reads is stopped, costs little, and loses nothing: test 9 of docs/PROMISES.md."""

import hashlib
import socket

import pytest

from tests.contract.room import MIB, data
from tests.daemon import SECONDS, Daemon
from tests.gate.room import configuration, counted, taken

OFFERED = 64 * MIB
EACH = 192 * 1024  #: octets of memory that a slow reader may cost
NOISE = MIB  #: what an allocator takes at once


def connected(place: tuple[str, int]) -> socket.socket:
    """A client whose own buffers are small: what is taken is the daemon's."""
    client = socket.socket()
    client.settimeout(SECONDS)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        client.setsockopt(socket.SOL_SOCKET, option, 16_384)
    client.connect(place)
    return client


def warmed_up(daemon: Daemon, place: tuple[str, int]) -> int:
    """The daemon's memory once it has done what it will do."""
    with connected(place) as client:
        taken(client, data(), still=0.1)
    return daemon.memory()


@pytest.mark.parametrize("kind", ["echo", "upper"])
def test_one_slow_reader(plane, kind):
    with Daemon(configuration(plane, f'{kind}]\nlisten = ["tcp://127.0.0.1:0"]')) as daemon:
        place = daemon.inet(kind, "tcp")
        before = warmed_up(daemon, place)
        with connected(place) as client:
            sent = taken(client, data(OFFERED))
            assert sent < OFFERED, "it takes without end"
            assert daemon.memory() - before < EACH + NOISE
            client.shutdown(socket.SHUT_WR)
            came, digest = 0, hashlib.sha256()
            while piece := client.recv(MIB):
                came += len(piece)
                digest.update(piece)
            expected = data(OFFERED)[:sent]
            assert came == sent
            assert digest.digest() == hashlib.sha256(expected if kind == "echo" else expected.upper()).digest()
        figures = counted(daemon, kind, "tcp")
        assert figures["closed:done"] >= 1


@pytest.mark.parametrize("kind", ["echo", "upper", "chargen"])
def test_a_hundred_of_them(plane, kind):
    """Each is stopped by itself, and somebody who reads is served among them."""
    with Daemon(configuration(plane, f'{kind}]\nlisten = ["tcp://127.0.0.1:0"]')) as daemon:
        place = daemon.inet(kind, "tcp")
        before = warmed_up(daemon, place)
        stuck = [connected(place) for _ in range(100)]
        try:
            for client in stuck:
                client.setblocking(False)
            for _ in range(200):  # each a little, in turn, for as long as anything is taken
                if not sum(_sent(client) for client in stuck):
                    break
            with connected(place) as reading:
                reading.sendall(b"hello")
                assert len(reading.recv(5)) == 5
            assert daemon.memory() - before < len(stuck) * EACH + NOISE
        finally:
            for client in stuck:
                client.close()
        daemon.check()


def _sent(client: socket.socket) -> int:
    try:
        return client.send(data(MIB))
    except BlockingIOError:
        return 0
