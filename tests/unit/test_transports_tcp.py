"""The options that a TCP connection inherits from its listener."""

import socket
from contextlib import closing

import pytest

from echod.address import parse
from echod.transports import tcp

SOCKET, TCP = socket.SOL_SOCKET, socket.IPPROTO_TCP


def accepted(listening: socket.socket) -> dict[str, int]:
    """The socket options of a new connection."""
    with socket.create_connection(listening.getsockname()):
        listening.setblocking(True)
        opened, _ = listening.accept()
        with opened:
            return {
                "keepalive": opened.getsockopt(SOCKET, socket.SO_KEEPALIVE),
                "idle": opened.getsockopt(TCP, socket.TCP_KEEPIDLE),
                "interval": opened.getsockopt(TCP, socket.TCP_KEEPINTVL),
                "count": opened.getsockopt(TCP, socket.TCP_KEEPCNT),
                "unacknowledged": opened.getsockopt(TCP, socket.TCP_USER_TIMEOUT) // 1000,
                "at once": opened.getsockopt(TCP, socket.TCP_NODELAY),
            }


@pytest.mark.parametrize(("stall", "seconds"), [(60.0, 65), (1.0, 60), (600.0, 605)])
def test_a_peer_that_disappears_is_detected(stall, seconds):
    """Unacknowledged data is detected after a minute, or later than `stall` if that is longer."""
    (listening,) = tcp.TRANSPORT.bind(None, parse("tcp://127.0.0.1:0"))
    with closing(listening):
        expected = {"keepalive": 1, "idle": 60, "interval": 15, "count": 4, "unacknowledged": 60, "at once": 1}
        assert accepted(listening) | {"unacknowledged": 0} == expected | {"unacknowledged": 0}
        tcp.grant(listening, stall)
        assert accepted(listening) == expected | {"unacknowledged": seconds}
