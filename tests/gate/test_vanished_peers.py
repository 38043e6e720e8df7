"""A peer that vanishes is detected by the kernel, and counted as lost: test 22 of docs/PROMISES.md.

The time limits are shortened here, so that the test does not take two minutes; the real ones have their own test.
"""

import socket
import sys
from contextlib import contextmanager

import pytest

from tests.chaos.network import SERVER4
from tests.daemon import SECONDS, Daemon, eventually
from tests.gate.configurations import STAYING, configuration, counted

pytestmark = pytest.mark.needs_root

SHORTER = """
import runpy, socket
from echod.transports import sockets, tcp
sockets.KEEPALIVE.update({socket.TCP_KEEPIDLE: 1, socket.TCP_KEEPINTVL: 1, socket.TCP_KEEPCNT: 2})
tcp.VANISHED, tcp.LEEWAY = 2.0, -60.0
runpy.run_module("echod", run_name="__main__")
"""


@contextmanager
def client(two, place):
    with two.client.inside():
        opened = socket.socket()
    with opened:
        opened.settimeout(SECONDS)
        opened.connect(place)
        yield opened


def sockets(two) -> int:
    """The number of TCP connections in the server's kernel (proc(5), net/tcp); state 01 is established."""
    with two.server.inside(), open("/proc/thread-self/net/tcp") as table:
        return sum(line.split()[3] == "01" for line in table)


def test_a_peer_that_vanishes_is_lost_whether_idle_or_not(two, way):
    plane, kind = way
    more = f'allow = ["0.0.0.0/0"]\n{STAYING.get(kind, "")}'
    config = configuration(plane, f'stream]\nkind = "{kind}"\nlisten = ["tcp://{SERVER4}:0"]\n{more}')
    with Daemon(config, command=(sys.executable, "-W", "error", "-c", SHORTER)) as daemon:
        place = daemon.inet("stream", "tcp")
        with client(two, place) as silent, client(two, place) as waiting, client(two, place) as stays:
            for one in (silent, waiting, stays):
                one.sendall(b"hello")
                assert one.recv(100)
            waiting.sendall(b"and now")  # its reply is in flight when the client vanishes
            two.client.ip("route", "add", "blackhole", SERVER4)
            assert eventually(lambda: sockets(two) == 0)
            two.client.ip("route", "delete", "blackhole", SERVER4)
        assert counted(daemon, "stream", "tcp")["closed:lost"] == 3


def test_a_peer_that_vanishes_while_idle_is_kept_for_stall(two):
    """Linux counts no keepalive probes on a socket with a TCP_USER_TIMEOUT."""
    listen = f'listen = ["tcp://{SERVER4}:0"]\nallow = ["0.0.0.0/0"]'
    config = f"[services.echo]\n{listen}\n[services.upper]\n{listen}\nlimits.stall = '70s'\n"
    with Daemon(config, command=(sys.executable, "-W", "error", "-c", SHORTER)) as daemon:
        with client(two, daemon.inet("echo", "tcp")) as short, client(two, daemon.inet("upper", "tcp")) as long:
            for one in (short, long):
                one.sendall(b"hello")
                assert len(one.recv(100)) == 5
            two.client.ip("route", "add", "blackhole", SERVER4)
            assert eventually(lambda: sockets(two) == 1)  # after 2 seconds
            assert eventually(lambda: sockets(two) == 0)  # after 10
            two.client.ip("route", "delete", "blackhole", SERVER4)
        for service in ("echo", "upper"):
            assert counted(daemon, service, "tcp")["closed:lost"] == 1
