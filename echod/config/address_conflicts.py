"""The addresses of a configuration beside each other and beside this machine: what no single one of them shows."""

from __future__ import annotations

import grp
import ipaddress
import pwd
from collections.abc import Callable, Iterator
from typing import Final

from echod.address import Address
from echod.config.errors import element
from echod.config.toml_reader import Reading, Written

WILDCARDS: Final = ("*", "0.0.0.0", "::")  #: hosts that stand for every one of an IP version, or of both


Unknown = Callable[[str], str | None]
"""What is wrong with an endpoint string, or None: Twisted knows, and nothing here does."""


class Places:
    """Every address so far: a port of 0 is a new place each time, and so is what systemd has opened."""

    def __init__(self, reading: Reading, unknown: Unknown) -> None:
        self._reading = reading
        self._unknown = unknown
        self._served: dict[
            tuple[object, ...], dict[str, list[tuple[Address, str]]]
        ] = {}  # by what must differ, and host

    def check(self, listen: Written) -> None:
        """Keep a fault for each address that cannot be served beside the others, or on this machine."""
        for index, address in enumerate(listen.value):
            if address is None:
                continue
            path = element(listen.path, index)
            where = f"{listen.file}: {path}" if path else str(listen.file)
            for said in (*self._taken(address, where), *self._strange(address), *_shared(address), *_unowned(address)):
                self._reading.fault(listen.file, path, f"{address.place}{said}")

    def _taken(self, address: Address, where: str) -> Iterator[str]:
        """Why the kernel would not open it beside another; else it is one of the others from now on."""
        if address.any_port:
            return
        beside = self._served.setdefault((address.scheme, address.port, address.path), {})
        for host in beside if address.host in WILDCARDS else (address.host, *WILDCARDS):
            for other, there in beside.get(host, ()):
                if (said := _clash(address, other)) is not None:
                    yield f"{said} in {there}"
                    return
        beside.setdefault(address.host, []).append((address, where))

    def _strange(self, address: Address) -> Iterator[str]:
        if address.is_opaque and (said := self._unknown(address.path)) is not None:
            yield f": {said}"


def _clash(one: Address, other: Address) -> str | None:
    """What is wrong with one beside another of the same scheme, port and path, if anything."""
    interfaces = {one.options.get("interface"), other.options.get("interface")}
    if len(interfaces) == 2 and None not in interfaces:  # bound to one device each
        return None
    if one.host == other.host:
        return " is already configured"
    if not _versions(one) & _versions(other):
        return None
    return f" overlaps with {other.place}, configured"


def _versions(address: Address) -> set[int]:
    """The versions of IP that an address takes; those of a name are not known here."""
    if address.host in ("*", "::"):
        return {6} if address.options.get("v6only", address.host == "::") else {4, 6}
    try:
        return {_ip(address).version}
    except ValueError:
        return set()


def _ip(address: Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address.host.partition("%")[0])


def _shared(address: Address) -> Iterator[str]:
    """An address that many have: a question to it is refused by the gate, and no connection can be made to it."""
    try:
        host = _ip(address)
    except ValueError:
        return
    kind = "multicast" if host.is_multicast else "broadcast" if str(host) == "255.255.255.255" else None
    if kind is not None:
        yield f" is a {kind} address, and nobody is answered from one; name an interface's own, or *"


def _unowned(address: Address) -> Iterator[str]:
    """A user or a group that this machine does not have; a number need not have a name."""
    for what, look_up in (("user", pwd.getpwnam), ("group", grp.getgrnam)):
        name = address.options.get(what)
        if name is not None and not str(name).isdecimal():
            try:
                look_up(str(name))
            except KeyError:
                yield f": {what} {name} does not exist"
