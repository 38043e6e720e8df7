"""A step of the wall clock by one hour changes no time limit: test 34 of docs/PROMISES.md.

No duration is asserted: a short limit that is reached shows that time passes, and a long one must not be reached.
"""

import json
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.chaos.network import Lacking
from tests.chaos.process_stops import clock_of
from tests.contract.matrix import PLANES, data, exactly
from tests.daemon import ECHOCTL, ECHOD, SECONDS, Daemon, eventually, is_waiting, run
from tests.fastpath.clients import connect

pytestmark = pytest.mark.needs_tools

BURST = 20
CONFIG = """
[daemon]
plane = "PLANE"
drain = "DRAIN"
[services.soon]
kind = "echo"
listen = ["tcp://127.0.0.1:0"]
limits = { idle = "1s", stall = "1s" }
[services.late]
kind = "echo"
listen = ["tcp://127.0.0.1:0", "unix://{dir}/late.sock"]
limits = { idle = "30m", stall = "30m", new-per-client = "1/20" }
[services.rated]
kind = "echo"
listen = ["udp://127.0.0.1:0"]
limits = { rate = "1/20" }
[services.repeated]
kind = "echo"
listen = ["udp://127.0.0.1:0"]
limits = { rate = "20/200" }
"""


class Clock:
    """The wall clock of a process, and its offset."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.words = clock_of(file)
        self.set("+0s")

    def set(self, offset: str) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(offset)
        new.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    try:
        return Clock(tmp_path / "offset")
    except Lacking as lacking:
        pytest.skip(str(lacking))


@pytest.fixture(params=PLANES)
def plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def daemon_of(clock: Clock, plane: str, drain: str = "1s") -> Daemon:
    return Daemon(CONFIG.replace("PLANE", plane).replace("DRAIN", drain), command=(*clock.words, *ECHOD))


def stuck(daemon: Daemon, service: str, scheme: str = "tcp") -> socket.socket:
    """A client that sends and never reads, until the daemon accepts no more, or has ended the connection."""
    client = connect(daemon.place(service, scheme), narrow=True)
    client.setblocking(False)
    sent, quiet = 0, False
    while not quiet:
        try:
            sent += client.send(data()[sent : sent + 65_536])
        except BlockingIOError:
            quiet = not select.select([], [client], [], 0.3)[1] and is_waiting(daemon.process.pid)
        except ConnectionError:  # a second has passed meanwhile
            break
    return client


def is_ended(client: socket.socket) -> bool:
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(0))


def a_second_passes(daemon: Daemon) -> None:
    """A limit of one second is reached, for an idle client and for one that does not read."""
    with connect(daemon.place("soon", "tcp")) as silent, stuck(daemon, "soon") as full:
        assert eventually(lambda: is_ended(silent) and is_ended(full)), "time stands still"


@pytest.mark.parametrize("offset", ["+3600s", "-3600s"])
def test_a_step_changes_no_limit_of_connections(clock, plane, offset):
    with daemon_of(clock, plane) as daemon, ExitStack() as stack:
        kept = [stack.enter_context(connect(daemon.place("late", scheme))) for scheme in ("tcp", "unix")]
        full = [stack.enter_context(stuck(daemon, "late", scheme)) for scheme in ("tcp", "unix")]
        a_second_passes(daemon)
        clock.set(offset)
        a_second_passes(daemon)
        a_second_passes(daemon)
        for client in kept:
            client.sendall(b"still?")
            assert exactly(client, 6) == b"still?"
        assert not [client for client in full if is_ended(client)]
        figures = [count for key, count in daemon.counters().items() if key.startswith("late")]
        assert not [one for one in figures if {"closed:idle", "closed:stall"} & set(one)]


def answers(daemon: Daemon, client: socket.socket) -> Iterator[bytes]:
    """The replies to everything that the client has sent. Once the daemon waits for an event, it has read all."""
    assert eventually(lambda: is_waiting(daemon.process.pid))
    with suppress(BlockingIOError):
        while True:
            yield client.recv(100, socket.MSG_DONTWAIT)


def test_a_step_changes_no_rate(clock, plane):
    """An hour would allow 3,600 more replies; each second of the test allows one."""
    with daemon_of(clock, plane) as daemon, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(daemon.place("rated", "udp"))
        answered, began = 0, time.monotonic()
        for offset in ("+0s", "+3600s", "-3600s", "+0s"):
            clock.set(offset)
            for number in range(10 * BURST):
                client.send(b"%d %s" % (number, offset.encode()))
            answered += len(list(answers(daemon, client)))
        assert BURST <= answered <= BURST + 1 + time.monotonic() - began


def test_a_muted_source_stays_muted(clock, plane):
    with daemon_of(clock, plane) as daemon, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(daemon.place("repeated", "udp"))
        for _ in range(2):  # the detector ignores half of the burst
            for _ in range(150):
                client.send(b"the same again")
        assert list(answers(daemon, client))
        clock.set("+3600s")
        for number in range(5):
            client.send(b"%d" % number)
        assert list(answers(daemon, client)) == []
        figures = next(count for key, count in daemon.counters().items() if key.startswith("repeated"))
        assert figures["refused:repeat"] > 5


@pytest.mark.parametrize("offset", ["+3600s", "-3600s"])
def test_a_step_changes_no_drain(clock, plane, offset):
    """A stop waits for pending replies in spite of the step, and ends when its own time is over."""
    with daemon_of(clock, plane, drain="30m") as daemon, stuck(daemon, "late") as client:
        daemon.process.terminate()
        daemon.stderr.wait_for("1 connection has 1800 s to end")
        clock.set(offset)
        assert not eventually(lambda: daemon.process.poll() is not None, seconds=2)
        client.close()
        assert daemon.wait() == 0
    clock.set("+0s")
    with daemon_of(clock, plane, drain="2s") as daemon, stuck(daemon, "late"):
        daemon.process.terminate()
        daemon.stderr.wait_for("1 connection has 2 s to end")
        clock.set(offset)
        assert daemon.wait(SECONDS) == 0


def test_a_step_changes_no_round_trip_time_of_ping(clock, plane):
    with daemon_of(clock, plane) as daemon:
        words = ("ping", "--json", "-c", "20", "-i", "50ms", daemon.url("late", "tcp"))
        with ThreadPoolExecutor(1) as beside:
            running = beside.submit(run, *clock.words, *ECHOCTL, *words)
            while not running.done():
                for offset in ("+3600s", "-3600s"):
                    clock.set(offset)
                    wait([running], timeout=0.05)
        said = json.loads(running.result().stdout)
        assert (said["sent"], said["received"]) == (20, 20)
        assert 0 <= said["min_ms"] <= said["max_ms"] < SECONDS * 1000, said
