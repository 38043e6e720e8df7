"""Processes that are stopped, clocks that step: tests 27 and 34 of docs/PROMISES.md."""

import signal
import socket

import pytest

from tests.chaos.connect_burst import Crowd, Fate, served
from tests.chaos.process_stops import Transfer, clock_of, stopping
from tests.contract.matrix import exactly
from tests.daemon import ECHOD, SECONDS, Daemon, eventually
from tests.gate.configurations import asking, configuration, counted, is_answered, received, refused, settled, stream

DATAGRAMS = 'datagrams]\nkind = "echo"\nlisten = ["udp://127.0.0.1:0"]'
WAITING = 100


def test_a_client_that_is_stopped_loses_nothing_and_delays_no_client(plane):
    with Daemon(configuration(plane, stream("echo"))) as daemon:
        place = daemon.inet("stream", "tcp")
        with Transfer(place) as transfer:
            transfer.reading.clear()
            for _ in range(20):
                assert served(place)
            transfer.reading.set()
            assert transfer.whole()
        assert counted(daemon, "stream", "tcp")["closed:done"] == 21


def test_a_daemon_that_is_stopped_loses_nothing(plane):
    """Streams in flight, and clients and datagrams that arrive meanwhile: all have their replies after it continues."""
    with Daemon(configuration(plane, stream("echo"), DATAGRAMS)) as daemon, asking(daemon) as client:
        place, datagrams = daemon.inet("stream", "tcp"), daemon.inet("datagrams", "udp")
        with Transfer(place) as transfer:
            assert eventually(lambda: transfer.came > 0)
            with stopping(daemon.process.pid):
                crowd = Crowd(place, WAITING)
                for number in range(WAITING):
                    client.sendto(b"%d" % number, datagrams)
                assert crowd.wait(0.3) == {Fate.WAITING: WAITING}
            with crowd:
                assert crowd.wait(SECONDS) == {Fate.SERVED: WAITING}
            assert transfer.whole()
        settled(daemon, datagrams)
        assert received(client, WAITING) == [b"%d" % number for number in range(WAITING)]
        assert counted(daemon, "stream", "tcp")["accepted"] == WAITING + 1


def test_a_sigterm_to_a_stopped_daemon_takes_effect_when_it_continues(plane):
    with Daemon(configuration(plane, stream("echo"))) as daemon:
        with stopping(daemon.process.pid):
            daemon.send_signal(signal.SIGTERM)
        assert daemon.stop() == 0


# The clock


@pytest.mark.needs_tools
@pytest.mark.parametrize("step", ["-3600s", "+3600s"])
def test_a_step_of_the_clock_changes_no_limit(plane, step, tmp_path):
    """Due limits are reached, others are not, and a rate allows no more; a stop takes no longer."""
    offset = tmp_path / "offset"
    offset.write_text("+0s")
    limits = 'limits = { idle = "5s", rate = "0.001/20" }'
    short = f'short]\nkind = "echo"\nlisten = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]\n{limits}'
    config = configuration(plane, stream("echo", 'idle = "1h"'), short)
    with Daemon(config, command=(*clock_of(offset), *ECHOD)) as daemon, asking(daemon) as client:
        with (
            socket.create_connection(daemon.inet("stream", "tcp"), SECONDS) as long,
            socket.create_connection(daemon.inet("short", "tcp"), SECONDS) as due,
        ):
            for each in (long, due):
                each.sendall(b"?")
                assert each.recv(1) == b"?"
            for number in range(30):
                client.sendto(b"%d" % number, daemon.inet("short", "udp"))
            assert len(received(client, 20)) == 20
            offset.write_text(step)
            assert due.recv(1) == b""
            with asking(daemon, "127.0.9.9") as other:  # its network has a rate of its own
                assert not is_answered(client, daemon.inet("short", "udp"), b"and now?", other)
            long.sendall(b"still?")
            assert exactly(long, 6) == b"still?"
        assert counted(daemon, "short", "tcp")["closed:idle"] == 1
        assert refused(counted(daemon, "short", "udp")) == {"rate": 11}
        assert counted(daemon, "stream", "tcp")["closed:done"] == 1
