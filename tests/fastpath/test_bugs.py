"""A third-party kind that raises: one line in the log, one connection lost, and everything else continues."""

import select
import socket

import pytest

from tests.contract.matrix import exactly, rest
from tests.daemon import SECONDS, Daemon, eventually
from tests.fastpath.clients import PLANES, configuration, connect, counted, held, installed, processor_time

KINDS = '''
from echod.model import Service


def fragile(said: bytes) -> bytes:
    if b"bug" in said:
        raise RuntimeError("no bugs, please")
    return said


class Fragile(Service):
    """Raises when a client sends the word."""

    kind = "fragile"
    summary = "fails now and then"
    transform = staticmethod(fragile)
'''


SESSIONS = '''
from echod.model import PLAIN, End, Quiet, Reply, Service


class Failing(Service):
    conversational = True

    def session(self, peer, say):
        return self.sessions()


class Beginning(Failing):
    """Raises when a session is made."""

    kind = summary = "beginning"


class Speaks(Quiet):
    def received(self, data, arrival=PLAIN):
        return Reply(more=self.pieces())

    def pieces(self):
        yield b"one"
        raise RuntimeError("no bugs, please")


class Speaking(Failing):
    """Raises in the middle of its output."""

    kind = summary = "speaking"
    sessions = Speaks


class Ends(Quiet):
    def received(self, data, arrival=PLAIN):
        return Reply(b"one", End.CLOSE)

    def lost(self):
        raise RuntimeError("no bugs, please")


class Ending(Failing):
    """Raises after the connection has ended."""

    kind = summary = "ending"
    sessions = Ends


class Changing(Beginning):
    """Raises as soon as the fast path hands over."""

    kind = summary = "changing"
    transform = staticmethod(bytes.swapcase)
'''
FAILING = {"beginning": "Beginning", "speaking": "Speaking", "ending": "Ending", "changing": "Changing"}


@pytest.fixture(params=PLANES)
def daemon(request, tmp_path):
    environ = installed(tmp_path, KINDS, {"fragile": "Fragile"})
    config = configuration(request.param, "fragile", "echo", daemon='drain = "600s"')
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
    figures = counted(daemon, "fragile", scheme)  # it stops the daemon: then the whole log is here
    failures = [line for line in daemon.stderr.text if " critical " in line]
    assert len(failures) == 1
    assert "RuntimeError: no bugs, please" in failures[0]
    assert figures == {"accepted": 3, "bytes_in": 25, "bytes_out": 20, "closed:failed": 1, "closed:done": 2}


def test_repeated_bugs_are_logged_once_a_minute_with_their_number(daemon):
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
    """While other clients receive their replies."""
    place = daemon.place("fragile", "tcp")
    with connect(place) as fragile, connect(place) as beside, connect(daemon.place("echo", "unix")) as other:
        for client in (fragile, beside, other):
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
        fragile.sendall(b"a bug")
        daemon.stderr.wait_for(" critical ")
        daemon.process.terminate()
        daemon.stderr.wait_for("stopping: 2 connections have 600 s to end")
        for client in (beside, other):
            client.sendall(b"still")
            assert exactly(client, 5) == b"still"
            client.shutdown(socket.SHUT_WR)
            assert rest(client) == b""
        assert daemon.wait() == 0
    assert counted(daemon, "fragile")["closed:failed"] == 1
    assert counted(daemon, "echo", "unix")["closed:done"] == 1


def answers(place, kind: socket.SocketKind) -> list[bytes]:
    """Everything received until the end, or the beginning of an endless output."""
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(SECONDS)
        client.connect(place)
        client.sendall(b"hello")
        return [client.recv(100) for _ in range(2 if kind == socket.SOCK_STREAM else 1)]


def test_a_session_that_fails_keeps_no_connection_slot_and_stops_no_listener(tmp_path):
    """On streams it is a reset, except after the end."""
    kinds = ("beginning", "speaking", "ending")
    listen = 'listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]\nlimits = { connections = 1 }'
    config = "\n".join(f"[services.{kind}]\n{listen}" for kind in kinds)
    with Daemon(config, environ=installed(tmp_path, SESSIONS, FAILING), bugs=True) as daemon:
        without_clients = held(daemon.process.pid)["socket"]
        for _ in range(3):
            for kind in kinds:
                place = daemon.place(kind, "tcp")
                if kind == "ending":
                    assert answers(place, socket.SOCK_STREAM) == [b"one", b""]
                else:
                    with pytest.raises(ConnectionResetError):
                        answers(place, socket.SOCK_STREAM)
                # otherwise the next would be refused
                assert eventually(lambda: held(daemon.process.pid)["socket"] == without_clients)
            for kind in ("speaking", "ending"):
                assert answers(daemon.place(kind, "udp"), socket.SOCK_DGRAM) == [b"one"]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"hello", daemon.inet("beginning", "udp"))
        ends = [counted(daemon, kind, scheme) for kind in kinds for scheme in ("tcp", "udp")]
        assert [(one["accepted"], one["closed:failed"], one.get("open", 0)) for one in ends] == [(3, 3, 0)] * 6


def test_a_session_that_fails_when_the_fast_path_hands_over_is_reset(tmp_path):
    config = configuration("auto", "changing", daemon='drain = "600s"')
    with Daemon(config, environ=installed(tmp_path, SESSIONS, FAILING), bugs=True) as daemon:
        with connect(daemon.place("changing", "tcp")) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"HELLO"
            daemon.process.terminate()
            assert is_reset(client)
        assert counted(daemon, "changing")["closed:failed"] == 1
