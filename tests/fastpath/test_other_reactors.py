"""The replies are the same with another reactor, without cffi, and with the plane off."""

import socket
from contextlib import ExitStack, suppress
from typing import Final

import pytest

from tests.contract.matrix import MIB, answer, data, digest, exactly, fill, rest
from tests.daemon import ECHOD, TWISTD, Daemon
from tests.fastpath.clients import (
    SCHEMES,
    Crowd,
    Talker,
    configuration,
    connect,
    counted,
    ended,
    first_on_the_path,
    held,
    reset,
)

BLOCKED: Final = """
import sys
sys.modules["cffi"] = sys.modules["_cffi_backend"] = None  # importing it is an ImportError now
"""


def under(reactor: str) -> tuple[str, ...]:
    return (*TWISTD, "--reactor", reactor, "--nodaemon", "--pidfile=", "echod")


WAYS: Final = ("epoll", "poll", "select", "plane off", "asyncio", "without cffi")
WITHOUT: Final = {"without cffi", "plane off"}


@pytest.fixture(params=["asyncio", "without cffi", *(pytest.param(way, marks=pytest.mark.slow) for way in WAYS[:4])])
def way(request):
    return request.param


@pytest.fixture
def daemon(way, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKED if way == "without cffi" else "")
    config = configuration("off" if way == "plane off" else "auto", "echo", "upper", daemon='drain = "600s"')
    config += "\n" + configuration("auto", "idle:echo", idle="1500ms").partition("\n\n")[2]
    config += "\n" + configuration("auto", "stall:echo", stall="1s").partition("\n\n")[2]
    command = ECHOD if way in WITHOUT else under(way)
    with Daemon(config, command=command, environ=first_on_the_path(tmp_path)) as running:
        yield running
        running.check()


@pytest.mark.timeout(120)
def test_all_reactors_send_the_same_replies(daemon, way):
    """One sequence with every feature, and its expected counters."""
    assert held(daemon.process.pid)["anon_inode:[eventpoll]"] == epolls(way)
    with ExitStack() as stack:
        for scheme in SCHEMES:
            for service, transform in (("echo", bytes), ("upper", bytes.upper)):
                place = daemon.place(service, scheme)

                def client(narrow: bool = False, place: str | tuple[str, int] = place) -> socket.socket:
                    return stack.enter_context(connect(place, narrow=narrow))

                for size in (0, 1, 1000, MIB):
                    assert answer(client(), [data()[:size]]) == digest([transform(data()[:size])])
                one = client()
                for at in range(100):
                    one.sendall(data()[at : at + 10])
                    assert exactly(one, 10) == transform(data()[at : at + 10])
                one.close()
                stuck = client(narrow=True)
                sent = fill(stuck, daemon.process.pid, data())
                stuck.shutdown(socket.SHUT_WR)
                assert rest(stuck) == transform(data()[:sent])
                one = client()
                one.sendall(b"hello")
                assert exactly(one, 5) == transform(b"hello")
                reset(one)
                crowd = Crowd([client() for _ in range(50)], transform)
                crowd.fill(daemon, 10_000)
                crowd.read_on()
        silent = [stack.enter_context(connect(daemon.place("idle", scheme))) for scheme in SCHEMES]
        stalled = [stack.enter_context(connect(daemon.place("stall", scheme), narrow=True)) for scheme in SCHEMES]
        for one in stalled:
            with suppress(ConnectionError):  # it has stalled already
                fill(one, daemon.process.pid, data())
        assert [rest(one) for one in silent] == [b""] * len(SCHEMES)
        assert all(ended(one) for one in stalled)  # not read before: it would continue
        late = Talker(stack.enter_context(connect(daemon.place("echo", "tcp"))))
        late.say(data()[: 8 * MIB])
        daemon.process.terminate()
        daemon.stderr.wait_for("stopping: 1 connection has 600 s to end")
        assert late.rest() == data()[: 8 * MIB]
        assert daemon.wait() == 0
    compare(daemon)


def compare(daemon: Daemon) -> None:
    for scheme in SCHEMES:
        for service in ("echo", "upper"):
            figures = counted(daemon, service, scheme)
            late = service == "echo" and scheme == "tcp"
            lost = 1 if scheme == "tcp" else 0
            assert figures["accepted"] == 57 + late
            assert figures["bytes_in"] == figures["bytes_out"]
            assert figures.get("closed:lost", 0) == lost
            assert figures["closed:done"] == 57 + late - lost
        assert counted(daemon, "idle", scheme)["closed:idle"] == 1
        assert counted(daemon, "stall", scheme)["closed:stall"] == 1


def epolls(way: str) -> int:
    """The expected number: one of the reactor, if it has one, and one of the fast path."""
    reactors = 0 if way in ("poll", "select") else 1
    return reactors + (way not in WITHOUT)
