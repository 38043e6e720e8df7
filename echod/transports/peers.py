"""The local and remote addresses of a connection, and the credentials of a Unix peer."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress

from echod.peercred import credentials
from echod.socket_names import SocketAddress, UnixName, inet, scoped, unix_name
from echod.transports.layers.layer_interface import Facts


def socket_address(address: IAddress) -> SocketAddress:
    """Convert an address of Twisted to a SocketAddress."""
    host = getattr(address, "host", None)
    if host is None:
        return unix_name(getattr(address, "name", None))
    return inet(scoped(host, getattr(address, "scopeID", 0)), getattr(address, "port", 0))


def facts_of(transport: Any) -> Facts:
    """The facts of a connection that Twisted has made."""
    local, remote = socket_address(transport.getHost()), socket_address(transport.getPeer())
    return socket_facts(getattr(transport, "socket", None), local, remote)


def socket_facts(opened: Any, local: SocketAddress, remote: SocketAddress) -> Facts:
    """The facts of a connected socket. For a Unix socket they include the peer's user and its groups."""
    peer = credentials(opened) if isinstance(local, UnixName) else None
    return Facts(local, remote) if peer is None else Facts(local, remote, peer.user, peer.groups)


def described(
    peer: SocketAddress, proxy: SocketAddress | None, bytes_in: int, bytes_out: int, unsent: int
) -> dict[str, Any]:
    """An open connection for the admin interface; `proxy` has named the peer."""
    named = {"proxy": str(proxy)} if proxy is not None else {}
    return {"peer": str(peer), **named, "bytes_in": bytes_in, "bytes_out": bytes_out, "unsent": unsent}
