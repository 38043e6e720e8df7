"""Who is at the two ends of a connection, of what its transport tells."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress

from echod.names import SocketAddress, UnixName, inet, scoped, unix_name
from echod.peercred import credentials
from echod.transports.layers.stack import Facts


def socket_address(address: IAddress) -> SocketAddress:
    """What we call the socket that Twisted calls `address`."""
    host = getattr(address, "host", None)
    if host is None:
        return unix_name(getattr(address, "name", None))
    return inet(scoped(host, getattr(address, "scopeID", 0)), address.port)  # type: ignore[attr-defined]  # an IAddress


def facts_of(transport: Any) -> Facts:
    """What is known of a connection that Twisted has made."""
    local, remote = socket_address(transport.getHost()), socket_address(transport.getPeer())
    return socket_facts(getattr(transport, "socket", None), local, remote)


def socket_facts(opened: Any, local: SocketAddress, remote: SocketAddress) -> Facts:
    """What is known of a connected socket: of a Unix socket also the user at the other end and its groups."""
    told = credentials(opened) if isinstance(local, UnixName) else None
    return Facts(local, remote) if told is None else Facts(local, remote, told.user, told.groups)
