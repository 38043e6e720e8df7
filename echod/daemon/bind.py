"""Every socket of a configuration, bound before anything is served: all of them, or none."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from echod.address import Address, Carries
from echod.config.schema import Configuration, ServiceConfig
from echod.names import is_loopback
from echod.text import system_error
from echod.transports import endpoint, tcp, udp, unix, unix_dgram

TRANSPORTS: Final[Mapping[str, Any]] = {
    "tcp": tcp,
    "udp": udp,
    "unix": unix,
    "unix-dgram": unix_dgram,
    "endpoint": endpoint,
}


@dataclass(frozen=True)
class Bound:
    """One bound socket of one address; `address` has the port that the kernel chose where 0 was asked for."""

    service: ServiceConfig
    address: Address
    socket: socket.socket | endpoint.Listening

    @property
    def streams(self) -> bool:
        """Whether connections are accepted here, rather than datagrams received."""
        return self.address.carries is Carries.STREAM

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.address.scheme == "endpoint":
            return is_loopback(str(self.socket.getsockname()[0]))
        return self.address.loopback


class Unbindable(Exception):
    """Some sockets could not be opened; `faults` has a line for each, and nothing stays open."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def bind_all(reactor: Any, configuration: Configuration) -> list[Bound]:
    """Bind every address. Raises Unbindable with every fault at once."""
    bound: list[Bound] = []
    faults: list[str] = []
    for service in configuration.services:
        for address in service.listen:
            try:
                for opened in TRANSPORTS[address.scheme].bind(reactor, address):
                    bound.append(Bound(service, _as_bound(address, opened), opened))
            except OSError as error:
                faults.append(f"{address.place}: {_reason(error, address)}")
    if faults:
        for one in bound:
            unbind(one)
        raise Unbindable(faults)
    return bound


def unbind(bound: Bound) -> None:
    """Close a socket that is not served, and remove its path."""
    if bound.address.has_path and isinstance(bound.socket, socket.socket):
        unix.OwnPath(bound.address.path).close(bound.socket)
    else:
        bound.socket.close()


def _as_bound(address: Address, opened: socket.socket) -> Address:
    if address.has_path or address.scheme == "endpoint":
        return address
    host, port = opened.getsockname()[:2]
    return replace(address, host=address.host if address.host == "*" else host, port=port)


def _reason(error: OSError, address: Address) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name is not known ({error.strerror})"
    if isinstance(error, PermissionError) and 0 < address.port < 1024:
        return f"{system_error(error)}: a port below 1024 needs CAP_NET_BIND_SERVICE"
    return system_error(error)
