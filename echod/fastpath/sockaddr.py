"""Socket addresses as the kernel writes them, `struct sockaddr_in` and `sockaddr_in6`, and what Python calls them."""

from __future__ import annotations

import socket
import struct
from typing import Any

from echod.gate.access import MAPPED


def host_and_port(name: bytes, six: bool) -> tuple[bytes, int, int]:
    """The host's octets, the port and the scope of a sockaddr_in or sockaddr_in6."""
    port = name[2] << 8 | name[3]
    if six:
        return name[8:24], port, int.from_bytes(name[24:28], "little")
    return name[4:8], port, 0


def python_name(name: bytes, six: bool) -> tuple[Any, ...]:
    """As the socket module calls it."""
    host, port, scope = host_and_port(name, six)
    if six:
        (flow,) = struct.unpack("!I", name[4:8])
        return socket.inet_ntop(socket.AF_INET6, host), port, flow, scope
    return socket.inet_ntop(socket.AF_INET, host), port


def is_mapped(host: bytes) -> bool:
    """Whether 16 octets are an IPv4 host as IPv6 shows it."""
    return host[:12] == MAPPED


def packed(host: str) -> bytes:
    """The 4 or 16 octets of a numeric host; its scope is left out."""
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
