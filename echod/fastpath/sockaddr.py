"""Converts `struct sockaddr_in` and `sockaddr_in6` of the kernel to Python's socket addresses."""

from __future__ import annotations

import socket
import struct
from typing import Any

from echod.gate.access import MAPPED


def host_and_port(name: bytes, six: bool) -> tuple[bytes, int, int]:
    """The address bytes, the port and the scope of a sockaddr_in or sockaddr_in6."""
    port = name[2] << 8 | name[3]
    if six:
        return name[8:24], port, int.from_bytes(name[24:28], "little")
    return name[4:8], port, 0


def python_name(name: bytes, six: bool) -> tuple[Any, ...]:
    """The socket address as a tuple of the socket module."""
    host, port, scope = host_and_port(name, six)
    if six:
        (flow,) = struct.unpack("!I", name[4:8])
        return socket.inet_ntop(socket.AF_INET6, host), port, flow, scope
    return socket.inet_ntop(socket.AF_INET, host), port


def is_mapped(host: bytes) -> bool:
    """Whether 16 bytes are an IPv4-mapped IPv6 address."""
    return host[:12] == MAPPED


def packed(host: str) -> bytes:
    """The 4 or 16 bytes of a numeric host, without its scope."""
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
