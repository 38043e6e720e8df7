"""The largest datagrams are complete, and larger ones are dropped: test 8 of docs/PROMISES.md."""

import random
import socket

import pytest

from tests.daemon import SECONDS, Daemon
from tests.gate.configurations import asking, configuration, counted, refused

SIZES = {"127.0.0.1": (8192, 8193, 65_506, 65_507), "::1": (8193, 65_507, 65_526, 65_527)}
TIMES = 3
BEYOND = 262_144  #: bytes of a Unix datagram: more than the default send buffer of any system


def test_no_datagram_is_cut(plane):
    listen = 'listen = ["udp://127.0.0.1:0", "udp://[::1]:0"]'
    with Daemon(configuration(plane, f"echo]\n{listen}", f"upper]\n{listen}")) as daemon:
        payload = random.Random(8).randbytes(max(SIZES["::1"]))
        starts = {"127.0.0.1": "udp://127", "::1": "udp://["}
        for kind in ("echo", "upper"):
            for host, sizes in SIZES.items():
                place = daemon.inet(kind, starts[host])
                with asking(daemon, host) as client:
                    for size in sizes * TIMES:
                        client.sendto(payload[:size], place)
                        answer = client.recv(65_536)
                        assert answer == (payload[:size] if kind == "echo" else payload[:size].upper()), (kind, size)
        for kind in ("echo", "upper"):
            for host, sizes in SIZES.items():
                figures = counted(daemon, kind, starts[host])
                assert figures["bytes_in"] == figures["bytes_out"] == TIMES * sum(sizes)
                assert not refused(figures)


def test_a_datagram_that_is_too_large_is_counted_and_not_cut():
    """UDP has no such datagram; a Unix socket has, if its sender sets a larger buffer."""
    with Daemon(configuration("auto", 'echo]\nlisten = ["unix-dgram://{dir}/echo"]')) as daemon:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * BEYOND)
            client.settimeout(SECONDS)
            client.bind("")
            client.connect(daemon.place("echo", "unix-dgram"))
            for size in (BEYOND + 1, BEYOND + 4096):
                try:
                    client.send(bytes(size))
                except OSError:
                    pytest.skip("net.core.wmem_max does not allow so large a datagram")
            client.send(b"and this?")
            assert client.recv(65_536) == b"and this?"
        assert refused(counted(daemon, "echo", "unix-dgram")) == {"truncated": 2}
