"""Who is at the two ends of a connection, of what its transport tells."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress

from echod.model import Peer
from echod.names import SocketAddress, UnixName, inet, scoped, unix_name
from echod.peercred import credentials


def socket_address(address: IAddress) -> SocketAddress:
    """What we call the socket that Twisted calls `address`."""
    host = getattr(address, "host", None)
    if host is None:
        return unix_name(getattr(address, "name", None))
    return inet(scoped(host, getattr(address, "scopeID", 0)), address.port)  # type: ignore[attr-defined]  # an IAddress


def peer_of(transport: Any, scheme: str) -> Peer:
    """Who is at the other end of a stream that came by `scheme`."""
    local, remote = socket_address(transport.getHost()), socket_address(transport.getPeer())
    told = credentials(getattr(transport, "socket", None)) if isinstance(local, UnixName) else None
    if told is None:
        return Peer(scheme, local, remote)
    return Peer(scheme, local, remote, user=told.user, groups=told.groups)
