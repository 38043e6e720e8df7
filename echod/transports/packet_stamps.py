"""The kernel's facts about datagrams: when each was received and sent, and the header of received ones.

Receive times are control messages (SO_TIMESTAMPNS, socket(7)). Send times come back on the error queue of the socket
(SO_TIMESTAMPING, Documentation/networking/timestamping.rst). Each has the number of its datagram, counted from 0 since
the option was set. A driver without a queue stamps during the send, so the time can be read right after it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from echod.model import Arrival
from echod.transports.sockets import IPV6_TCLASS, carries_ipv4

IP_TOS: Final = 1  # ip(7)
IP_TTL: Final = 2
IP_RECVTTL: Final = 12
IP_RECVTOS: Final = 13
RECEIVE_BUFFER: Final = 4 * 1024 * 1024  #: bytes: a second of 5,000 replies
SO_RCVBUFFORCE: Final = 33  # socket(7)
SO_TIMESTAMPNS: Final = 35  # socket(7); <asm-generic/socket.h>
SO_TIMESTAMPING: Final = 37
_SENT: Final = 1 << 1 | 1 << 4 | 1 << 7 | 1 << 11
"""SOF_TIMESTAMPING_TX_SOFTWARE, SOFTWARE, OPT_ID and OPT_TSONLY; <linux/net_tstamp.h>."""
_TIMESPEC: Final = struct.Struct("ll")
_EXTENDED_ERROR: Final = struct.Struct("=IBBBBII")  # struct sock_extended_err; the number is the last field
_ERROR_TYPES: Final = frozenset({(socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25)})  # IP_RECVERR, IPV6_RECVERR
_A_SECOND: Final = 1_000_000_000


def request_facts(opened: socket.socket) -> None:
    """Request the receive times and headers of datagrams, and their send times, as far as the kernel has them.

    The receive buffer is enlarged, so that a busy client loses no replies. Root may exceed net.core.rmem_max.
    """
    options = [(socket.SOL_SOCKET, option, RECEIVE_BUFFER) for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE)]
    options += [(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1), (socket.SOL_SOCKET, SO_TIMESTAMPING, _SENT)]
    if opened.family == socket.AF_INET6:
        options += [(socket.IPPROTO_IPV6, option, 1) for option in (socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS)]
    if opened.family != socket.AF_UNIX and carries_ipv4(opened):
        options += [(socket.IPPROTO_IP, option, 1) for option in (IP_RECVTTL, IP_RECVTOS)]
    for level, option, value in options:
        with suppress(OSError):  # a sandbox, or an older kernel: the facts are missing
            opened.setsockopt(level, option, value)


def arrival_of(ancillary: Iterable[tuple[int, int, bytes]]) -> Arrival:
    """The facts in the control messages of one received datagram."""
    ttl = traffic_class = received_ns = None
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP:
            if kind == IP_TTL:
                (ttl,) = struct.unpack("i", data)
            elif kind == IP_TOS:
                traffic_class = data[0]
        elif level == socket.IPPROTO_IPV6:
            if kind == socket.IPV6_HOPLIMIT:
                (ttl,) = struct.unpack("i", data)
            elif kind == IPV6_TCLASS:
                (traffic_class,) = struct.unpack("i", data)
        elif level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            received_ns = seconds * _A_SECOND + nanoseconds
    return Arrival(None, ttl, traffic_class, received_ns)


def traffic_class_message(traffic_class: int, *, ipv4: bool) -> tuple[int, int, bytes]:
    """The control message that sends one datagram with a byte of DSCP and ECN (ip(7), ipv6(7))."""
    level, kind = (socket.IPPROTO_IP, IP_TOS) if ipv4 else (socket.IPPROTO_IPV6, IPV6_TCLASS)
    return level, kind, struct.pack("i", traffic_class)


def sent_times(opened: socket.socket) -> Iterator[tuple[int, int]]:
    """Yield the number and the time of each datagram that was sent since the last call, in nanoseconds since 1970."""
    while True:
        try:
            _, ancillary, _, _ = opened.recvmsg(0, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except OSError:  # the queue is empty, or the kernel has none
            return
        number = sent_ns = None
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING:
                seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                sent_ns = seconds * _A_SECOND + nanoseconds
            elif (level, kind) in _ERROR_TYPES:
                number = _EXTENDED_ERROR.unpack_from(data)[-1]
        if number is not None and sent_ns:
            yield number, sent_ns
