"""How the ends of a socket are called: an IP address and a port, or the path of a Unix socket.

Standard library only, and nothing of echod.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, NamedTuple

from echod.text import clipped, from_system


class Inet(NamedTuple):
    """One end of an IPv4 or IPv6 socket; `host` is canonical text, with a scope where it has one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixName(NamedTuple):
    """One end of a Unix socket; the empty path is a socket without a name, `@` begins an abstract one."""

    path: str

    def __str__(self) -> str:
        return clipped(self.path) or "(unnamed)"  # a peer chooses its own


SocketAddress = Inet | UnixName


def inet(host: str, port: int) -> Inet:
    """The Inet of what a socket call returned: an IPv4-mapped host is that IPv4 host.

    Raises nothing: a host that is no IP address stays the text it is.
    """
    if host[:7].lower() == "::ffff:":
        try:
            host = str(ipaddress.IPv6Address(host).ipv4_mapped or host)
        except ValueError:
            pass
    return Inet(host, port)


def inet_name(name: tuple[Any, ...]) -> Inet:
    """The Inet of a socket name of an IPv4 or IPv6 socket, as getsockname, accept or recvmsg returned it.

    An address of IPv6 that needs its zone has it (RFC 4007 11): on each link there may be an `fe80::1`.
    """
    zone = name[3] if len(name) == 4 else 0
    return inet(scoped(name[0], zone), name[1])


def scoped(host: str, zone: int) -> str:
    """A host with its zone, by the name of the interface, or by its number once the interface has gone; 0 is none."""
    if not zone or "%" in host:
        return host
    try:
        return f"{host}%{socket.if_indextoname(zone)}"
    except OSError:
        return f"{host}%{zone}"


def is_loopback(host: str) -> bool:
    """Whether a host, by its address or as `localhost`, is this machine by definition."""
    try:
        return ipaddress.ip_address(inet(host, 0).host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def unix_name(name: str | bytes | None) -> UnixName:
    """The UnixName of what a socket call returned: bytes (abstract), str as this process decodes paths, "" or None."""
    if isinstance(name, bytes):
        text = name.decode("utf-8", "surrogateescape")
    else:
        text = from_system(name or "")
    return UnixName("@" + text[1:] if text.startswith("\0") else text)
