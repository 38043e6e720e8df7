"""Names of the ends of a socket: an IP address and a port, or the path of a Unix socket."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, NamedTuple

from echod.escaping import clipped, from_system


class Inet(NamedTuple):
    """One end of an IPv4 or IPv6 socket; `host` is canonical text, with a scope if it has one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixName(NamedTuple):
    """One end of a Unix socket. The empty path is an unnamed socket; `@` begins an abstract name."""

    path: str

    def __str__(self) -> str:
        return clipped(self.path) or "(unnamed)"  # a peer chooses its own name


SocketAddress = Inet | UnixName


def inet(host: str, port: int) -> Inet:
    """The Inet of a host from a socket call: an IPv4-mapped host becomes that IPv4 host.

    Raises nothing: a host that is not an IP address is unchanged.
    """
    if host[:7].lower() == "::ffff:":
        try:
            host = str(ipaddress.IPv6Address(host).ipv4_mapped or host)
        except ValueError:
            pass
    return Inet(host, port)


def inet_name(name: tuple[Any, ...]) -> Inet:
    """The Inet of a socket name of an IPv4 or IPv6 socket, as getsockname, accept or recvmsg returned it.

    An IPv6 address that needs a zone has it (RFC 4007 11), because each link may have an `fe80::1`.
    """
    if len(name) == 2:  # IPv4: without a zone, and never mapped
        return Inet(name[0], name[1])
    zone = name[3] if len(name) == 4 else 0
    return inet(scoped(name[0], zone), name[1])


def scoped(host: str, zone: int) -> str:
    """A host with its zone: the name of the interface, or its number if it does not exist any more; 0 means none."""
    if not zone or "%" in host:
        return host
    try:
        return f"{host}%{socket.if_indextoname(zone)}"
    except OSError:
        return f"{host}%{zone}"


def is_loopback(host: str) -> bool:
    """Whether a host is a loopback address or `localhost`."""
    try:
        return ipaddress.ip_address(inet(host, 0).host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def unix_name(name: str | bytes | None) -> UnixName:
    """The UnixName of a socket call's result: bytes (abstract), str as this process decodes paths, "" or None."""
    if isinstance(name, bytes):
        text = name.decode("utf-8", "surrogateescape")
    else:
        text = from_system(name or "")
    return UnixName("@" + text[1:] if text.startswith("\0") else text)
