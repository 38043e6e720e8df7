"""The options of a UDP socket: the metadata of each datagram, and fragmentation."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

from echod.transports import socket_filter
from echod.transports.error_queue import ask_for_errors
from echod.transports.packet_stamps import IP_RECVTOS, IP_RECVTTL, SO_TIMESTAMPNS
from echod.transports.sockets import IP_MTU_DISCOVER, carries_ipv4

RECEIVE_BUFFER: Final = 8 * 1024 * 1024
"""Bytes of the receive buffer that are requested; the kernel grants up to net.core.rmem_max. Bursts are short."""

IP_PKTINFO: Final = 8  # ip(7)
IP_PMTUDISC_OMIT: Final = 5  # a value of IP_MTU_DISCOVER; <linux/in.h>
UDP_GRO: Final = 104  # udp(7); <linux/udp.h>


def prepare(bound: socket.socket) -> None:
    """Request the metadata of each datagram, and reset options that a predecessor set. Raises OSError.

    UDP_GRO is kept: queued datagrams may be joined already, and without the option the kernel does not report their
    sizes.
    """
    with suppress(OSError):  # no filter is attached
        socket_filter.detach(bound)
    ask_for_errors(bound, False)
    bound.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    dual = bound.family == socket.AF_INET6 and carries_ipv4(bound)
    if bound.family == socket.AF_INET6:
        for option in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS):
            bound.setsockopt(socket.IPPROTO_IPV6, option, 1)
    if bound.family == socket.AF_INET or dual:
        for option in (IP_RECVTTL, IP_RECVTOS) if dual else (IP_PKTINFO, IP_RECVTTL, IP_RECVTOS):
            bound.setsockopt(socket.IPPROTO_IP, option, 1)


def reduce_ancillary(bound: socket.socket, *, destination: bool) -> None:
    """Request no metadata of datagrams, except the `destination` if that is needed."""
    options = [(socket.SOL_SOCKET, SO_TIMESTAMPNS), (socket.IPPROTO_IP, IP_RECVTTL), (socket.IPPROTO_IP, IP_RECVTOS)]
    if bound.family == socket.AF_INET6:
        options += [(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT), (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS)]
    if not destination:
        options += [(socket.IPPROTO_IP, IP_PKTINFO)]
        options += [(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)] if bound.family == socket.AF_INET6 else []
    for level, option in options:
        with suppress(OSError):  # IPv4 on an IPv6-only socket
            bound.setsockopt(level, option, 0)


def allow_fragments(bound: socket.socket) -> None:
    """Send IPv4 replies without DF, regardless of the path MTU that a router reports. Raises OSError.

    By default Linux sets DF. A router then drops a reply that is larger than the path MTU, and the daemon cannot
    repeat it. With this setting, a forged report cannot lower the path MTU either. IPv6 keeps the default, because
    only the sender fragments. It would ignore Packet Too Big (RFC 8200 5), and every large reply would be lost.
    """
    if carries_ipv4(bound):
        bound.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT)


def joins(bound: socket.socket) -> bool:
    """Whether the kernel may have joined waiting datagrams, because the fast path has had this socket."""
    try:
        return bool(bound.getsockopt(socket.IPPROTO_UDP, UDP_GRO))
    except OSError:
        return False
