"""Checks the addresses of a configuration against each other and against this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Final

from echod.address import Address
from echod.config.errors import element
from echod.config.schema_check import Reading, Written
from echod.shape import Shape
from echod.transports.unix_paths import numeric

WILDCARDS: Final = ("*", "0.0.0.0", "::")  #: hosts that stand for every address of one IP version, or of both


Unknown = Callable[[str], str | None]
"""Returns the error of an endpoint string, or None. It is passed in because only Twisted can parse these strings."""


class AddressConflicts:
    """The addresses checked so far. Addresses with port 0 and inherited sockets never conflict."""

    def __init__(self, reading: Reading, unknown: Unknown) -> None:
        self._reading = reading
        self._unknown = unknown
        self._served: dict[
            tuple[object, ...], dict[str, list[tuple[Address, str]]]
        ] = {}  # by transport and port, or the path of a Unix socket; then by host

    def check(self, listen: Written) -> None:
        """Record an error for each address that conflicts with another, or cannot be used on this machine."""
        for index, address in enumerate(listen.value):
            if address is None:
                continue
            path = element(listen.path, index)
            where = f"{listen.file}: {path}" if path else str(listen.file)
            for text in (*self._taken(address, where), *self._strange(address), *_shared(address), *_unowned(address)):
                self._reading.add_error(listen.file, path, f"{address.label}{text}")

    def _taken(self, address: Address, where: str) -> Iterator[str]:
        """Yield the conflict with an earlier address; if there are none, remember the address."""
        if address.any_port:
            return
        transport = address.form.module or address.scheme
        groups = [self._served.setdefault((transport, one.port or one.path), {}) for one in address.each]
        for beside in groups:
            for host in beside if address.host in WILDCARDS else (address.host, *WILDCARDS):
                for other, there in beside.get(host, ()):
                    if (conflict := _conflict(address, other)) is not None:
                        yield f"{conflict} in {there}"
                        return
        for beside in groups:
            beside.setdefault(address.host, []).append((address, where))

    def _strange(self, address: Address) -> Iterator[str]:
        if address.is_opaque and (error := self._unknown(address.path)) is not None:
            yield f": {error}"


def _conflict(one: Address, other: Address) -> str | None:
    """The conflict between two addresses of the same transport and port, or of the same path; or None.

    Services that clients select by a path share a socket, so its host, its layers and its options must agree.
    """
    interfaces = {one.options.get("interface"), other.options.get("interface")}
    if len(interfaces) == 2 and None not in interfaces:  # each is bound to another device
        return None
    same_ports = (one.port, one.last_port) == (other.port, other.last_port)
    if one.host == other.host and same_ports:
        shares = one.form.has_url_path and other.form.has_url_path
        if not shares or (one.path or "/") == (other.path or "/"):
            return " is already configured"
        if (one.scheme, one.options) == (other.scheme, other.options):
            return None
        return f" shares its port with {other}, and needs the same scheme and options; it is configured"
    if one.host != other.host and not _versions(one) & _versions(other):
        return None
    return f" overlaps with {other.label}, configured"


def _versions(address: Address) -> set[int]:
    """The IP versions that an address uses; the empty set for a host name."""
    if address.host in ("*", "::"):
        return {6} if address.options.get("v6only", address.host == "::") else {4, 6}
    try:
        return {_ip(address).version}
    except ValueError:
        return set()


def _ip(address: Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address.host.partition("%")[0])


def _shared(address: Address) -> Iterator[str]:
    """Yield an error for broadcast, and for multicast except over UDP: connections need unicast."""
    try:
        host = _ip(address)
    except ValueError:
        return
    if host.is_multicast and address.shape is Shape.DATAGRAM:
        return
    kind = "multicast" if host.is_multicast else "broadcast" if str(host) == "255.255.255.255" else None
    if kind is not None:
        yield f" is a {kind} address, from which replies cannot be sent; expected an interface's address, or *"


def _unowned(address: Address) -> Iterator[str]:
    """Yield an error for a user or a group that does not exist, or whose number no user can have."""
    for what in ("user", "group"):
        if what in address.options:
            try:
                numeric({what: address.options[what]})
            except OSError as error:
                yield f": {error.strerror}"
