"""Who is at the two ends of a connection, of what its transport tells."""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

from twisted.internet.interfaces import IAddress

from echod.model import Peer
from echod.names import SocketAddress, UnixName, inet, unix_name

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


def socket_address(address: IAddress) -> SocketAddress:
    """What we call the socket that Twisted calls `address`."""
    host = getattr(address, "host", None)
    if host is None:
        return unix_name(getattr(address, "name", None))
    return inet(host, address.port)  # type: ignore[attr-defined]  # IAddress has no members of its own


def peer_of(transport: Any, scheme: str) -> Peer:
    """Who is at the other end of a stream that came by `scheme`."""
    local, remote = socket_address(transport.getHost()), socket_address(transport.getPeer())
    return Peer(scheme, local, remote, user=_user(transport) if isinstance(local, UnixName) else None)


def _user(transport: Any) -> int | None:
    """The number of the user at the other end of a Unix stream, when it connected (unix(7), SO_PEERCRED)."""
    try:
        credentials = transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (AttributeError, OSError):  # a transport of a test, or no Linux
        return None
    return int(_CREDENTIALS.unpack(credentials)[1])
