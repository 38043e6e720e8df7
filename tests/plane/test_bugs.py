"""A kind of somebody else's that fails: one line of the log, one connection, and everything else goes on."""

import select
import socket

import pytest

from tests.contract.room import exactly, rest
from tests.daemon import Daemon
from tests.plane.room import PLANES, configuration, connect, counted, installed, processor_time

KINDS = '''
from echod.model import Service


def fragile(said: bytes) -> bytes:
    if b"bug" in said:
        raise RuntimeError("no bugs, please")
    return said


class Fragile(Service):
    """Fails when somebody says the word."""

    kind = "fragile"
    summary = "fails now and then"
    transform = staticmethod(fragile)
'''


@pytest.fixture(params=PLANES)
def daemon(request, tmp_path):
    environ = installed(tmp_path, KINDS, {"fragile": "Fragile"})
    config = configuration(request.param, "fragile", "echo", daemon='drain = "5s"')
    with Daemon(config, environ=environ, bugs=True) as running:
        yield running
        assert running.stop() == 0


def is_reset(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_a_bug_costs_one_line_and_one_connection(daemon, scheme):
    place = daemon.place("fragile", scheme)
    with connect(place) as fragile, connect(place) as beside, connect(daemon.place("echo", scheme)) as other:
        for client in (fragile, beside, other):
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
        fragile.sendall(b"a bug")
        assert is_reset(fragile)
        spent = processor_time(daemon.process.pid)
        select.select([], [], [], 0.5)
        assert processor_time(daemon.process.pid) - spent < 0.25, "it spins"
        with connect(place) as new:
            for client in (beside, other, new):
                client.sendall(b"go on")
                assert exactly(client, 5) == b"go on"
                client.shutdown(socket.SHUT_WR)
                assert rest(client) == b""
    failures = [line for line in daemon.stderr.text if " critical " in line]
    assert len(failures) == 1
    assert "RuntimeError: no bugs, please" in failures[0]
    figures = counted(daemon, "fragile", scheme)
    assert figures == {"accepted": 3, "bytes_in": 25, "bytes_out": 20, "closed:failed": 1, "closed:done": 2}


def test_of_bugs_in_one_place_a_minute_tells_one_and_says_soon_how_many_more_there_were(daemon):
    for _ in range(3):
        with connect(daemon.place("fragile", "tcp")) as client:
            client.sendall(b"a bug")
            assert is_reset(client)
    daemon.stderr.wait_for(" critical .*RuntimeError: no bugs, please")
    daemon.stderr.wait_for("warn  2 more lines were not written: RuntimeError")
    with connect(daemon.place("echo", "tcp")) as client:
        client.sendall(b"hello")
        assert exactly(client, 5) == b"hello"


def test_a_bug_does_not_keep_the_daemon_from_draining(daemon):
    """With others in the middle of their answers."""
    place = daemon.place("fragile", "tcp")
    with connect(place) as fragile, connect(place) as beside, connect(daemon.place("echo", "unix")) as other:
        for client in (fragile, beside, other):
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
        fragile.sendall(b"a bug")
        daemon.stderr.wait_for(" critical ")
        daemon.process.terminate()
        daemon.stderr.wait_for("stopping: 2 connections have 5 s to end")
        for client in (beside, other):
            client.sendall(b"still")
            assert exactly(client, 5) == b"still"
            client.shutdown(socket.SHUT_WR)
            assert rest(client) == b""
        assert daemon.wait() == 0
    assert counted(daemon, "fragile")["closed:failed"] == 1
    assert counted(daemon, "echo", "unix")["closed:done"] == 1
