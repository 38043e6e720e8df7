"""The error queue of a UDP socket: peers whose ports are closed, as ICMP messages report (ip(7), IP_RECVERR).

An unconnected socket receives no such errors by default. With IP_RECVERR, the kernel also returns a pending error from
the next send or receive, even if that call is for another peer. The caller repeats such a call.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

IP_RECVERR: Final = 11  # ip(7)
IPV6_RECVERR: Final = 25  # ipv6(7)
MSG_ERRQUEUE: Final = 0x2000  # recvmsg(2)
FROM_ICMP: Final = frozenset({2, 3})  # SO_EE_ORIGIN_ICMP and _ICMP6, <linux/errqueue.h>
A_TURN: Final = 64  #: errors read in one turn
ANCILLARY: Final = 256  #: bytes of control messages
_EXTENDED_ERROR: Final = struct.Struct("=IBBBB")  # errno, origin, type, code, pad


def ask_for_errors(bound: socket.socket, wanted: bool) -> None:
    """Turn the kernel's error queue of this socket on or off."""
    with suppress(OSError):  # the socket's family does not have the option
        bound.setsockopt(socket.IPPROTO_IP, IP_RECVERR, wanted)
    if bound.family == socket.AF_INET6:
        with suppress(OSError):
            bound.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, wanted)


def refusing_peers(bound: socket.socket) -> Iterator[Any]:
    """Read the error queue. Yield the socket address for each "port unreachable", and None for each other error."""
    for _ in range(A_TURN):
        try:
            _, ancillary, _, name = bound.recvmsg(0, ANCILLARY, MSG_ERRQUEUE)
        except OSError:  # EAGAIN: the queue is empty
            return
        yield name if any(_refused(*message) for message in ancillary) else None


def _refused(level: int, kind: int, data: bytes) -> bool:
    if (level, kind) not in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
        return False
    number, origin, *_ = _EXTENDED_ERROR.unpack_from(data)
    return number == errno.ECONNREFUSED and origin in FROM_ICMP
