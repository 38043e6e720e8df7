"""A client that sends and never reads is paused, uses little memory, and loses nothing: test 9 of docs/PROMISES.md."""

import hashlib
import socket

import pytest

from tests.contract.matrix import MIB, data
from tests.daemon import SECONDS, Daemon
from tests.gate.configurations import configuration, counted, stream, taken

OFFERED = 64 * MIB  #: more than all buffers of the kernel together
EACH = 192 * 1024  #: bytes of memory that a slow reader may cost
NOISE = MIB  #: bytes that an allocator takes at once
CROWD = 50


@pytest.mark.parametrize(("plane", "kind"), [("auto", "echo"), ("auto", "upper"), ("auto", "chargen"), ("off", "echo")])
def test_clients_that_do_not_read_are_paused(plane, kind):
    with Daemon(configuration(plane, stream(kind))) as daemon:
        place, pid = daemon.inet("stream", "tcp"), daemon.process.pid
        with socket.create_connection(place, SECONDS) as client:  # it has reached its final state
            taken(client, data()[: 8 * MIB], still=0.1, pid=pid)
        before = daemon.memory()
        with socket.create_connection(place, SECONDS) as client:
            sent = taken(client, data()[:OFFERED], pid=pid)
            assert daemon.memory() - before < EACH + NOISE
            if kind != "chargen":
                assert sent < OFFERED, "the daemon accepts without end"
                assert answer(client) == of(data()[:sent] if kind == "echo" else data()[:sent].upper())
        stuck = [socket.create_connection(place, SECONDS) for _ in range(CROWD)]
        try:
            for client in stuck:
                client.setblocking(False)
            while sum(send(client) for client in stuck):
                pass
            with socket.create_connection(place, SECONDS) as reading:  # a client that reads is served among them
                reading.sendall(b"hello")
                assert len(reading.recv(5)) == 5
            assert daemon.memory() - before < CROWD * EACH + NOISE
        finally:
            for client in stuck:
                client.close()
        assert "open" not in counted(daemon, "stream", "tcp")


def answer(client: socket.socket) -> tuple[int, bytes]:
    """Shut down sending; returns the number of bytes that come back, and their digest."""
    client.shutdown(socket.SHUT_WR)
    came, digest = 0, hashlib.sha256()
    while piece := client.recv(MIB):
        came += len(piece)
        digest.update(piece)
    return came, digest.digest()


def of(expected: bytes) -> tuple[int, bytes]:
    return len(expected), hashlib.sha256(expected).digest()


def send(client: socket.socket) -> int:
    """Send a little, once; chargen reads everything, so nothing is sent to it."""
    try:
        return client.send(data()[:MIB])
    except BlockingIOError:
        return 0
