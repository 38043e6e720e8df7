"""Multicast groups: membership of a listening socket, and sending to a group.

A socket of a group is bound to the address of the group, and receives no other datagrams. Its replies leave from a
unicast address of the interface, with TTL 1: no router forwards them, so that a forged source in another network
receives nothing.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from typing import Final

from echod.address import Address

IP_MULTICAST_ALL: Final = 49  # ip(7)
IPV6_MULTICAST_ALL: Final = 29  # <linux/in6.h>
TTL: Final = 1  #: of replies, unless the address has the option `ttl`


def is_group(host: str) -> bool:
    """Whether a host is a numeric multicast address, with a zone or without."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_multicast
    except ValueError:
        return False


def interface_of(address: Address) -> str:
    """The interface of a group's address: the option `interface` or the zone. Empty: the kernel's route decides."""
    return str(address.options.get("interface", "")) or address.host.partition("%")[2]


def _index(interface: str) -> int:
    if interface.isdecimal():
        return int(interface)
    return socket.if_nametoindex(interface) if interface else 0


def join(opened: socket.socket, address: Address) -> None:
    """Join the group that a socket is bound to, on one interface. Raises OSError.

    Without IP_MULTICAST_ALL, the kernel would also deliver datagrams that arrive by interfaces that other sockets have
    joined. The membership lasts until the socket is closed.
    """
    host, interface = address.host.partition("%")[0], interface_of(address)
    try:
        index = _index(interface)
        if opened.family == socket.AF_INET6:
            group = socket.inet_pton(socket.AF_INET6, host) + struct.pack("i", index)
            opened.setsockopt(socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        else:
            group = socket.inet_aton(host) + bytes(4) + struct.pack("i", index)  # struct ip_mreqn
            opened.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        name = f"on {interface}" if interface else "without ?interface="
        raise OSError(error.errno, f"the group cannot be joined {name}: {why}") from error


def limit_ttl(opened: socket.socket, ttl: int) -> None:
    """Set the TTL of replies from the socket of a group, which has one IP version. Raises OSError."""
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
    else:
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)


def prepare_sender(opened: socket.socket, address: Address) -> None:
    """Set the TTL and the interface of datagrams that a client sends to a group. Raises OSError."""
    ttl, index = address.options.get("ttl"), _index(interface_of(address))
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        if ttl is not None:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, int(ttl))
        return
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(8) + struct.pack("i", index))
    if ttl is not None:
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, int(ttl))
