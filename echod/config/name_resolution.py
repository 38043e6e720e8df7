"""Resolves the names of hosts, users and groups in addresses to numbers.

It may block for seconds if a name server does not answer. So it is part of reading a configuration, which a reload
does in a thread. No name is resolved later. `echoctl check` does the same as a start.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Final

from echod.address import Address
from echod.config.errors import LocatedError, element, joined
from echod.config.line_numbers import located
from echod.config.schema_check import DEFAULT
from echod.config.settings import Admin, Configuration
from echod.escaping import system_error
from echod.transports import sockets, unix_paths

NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors of a bind to an address or a protocol that this machine does not have."""
COMES_LATER: Final = frozenset({"freebind", "retry"})
"""Options of addresses that may appear on this machine later."""


class Unresolved(Exception):
    """Names could not be resolved; `errors` has a line for each."""

    def __init__(self, errors: Iterable[LocatedError]) -> None:
        self.errors = tuple(str(error) for error in errors)
        super().__init__("\n".join(self.errors))


def resolved(configuration: Configuration) -> tuple[Configuration, list[str]]:
    """The configuration with addresses instead of host names and numbers instead of users and groups; and warnings.

    Only those addresses of a name are served that this machine has; each other one gets a warning. It is an error if
    this machine has none of them. Blocks. Raises Unresolved.
    """
    resolver = _Resolver(configuration)
    found = replace(
        configuration,
        services=tuple(
            replace(one, listen=resolver.addresses(joined("services", one.name), one.listen))
            for one in configuration.services
        ),
        admin=resolver.admin(configuration.admin),
    )
    if resolver.errors:
        raise Unresolved(located(resolver.errors, configuration.texts))
    return found, [str(warning) for warning in located(resolver.warnings, configuration.texts)]


class _Resolver:
    """Resolves each name once, and collects errors and warnings."""

    def __init__(self, configuration: Configuration) -> None:
        self.errors: list[LocatedError] = []
        self.warnings: list[LocatedError] = []
        self._origins = configuration.origins
        self._hosts = cache(sockets.hosts_of)
        self._not_here = cache(_not_here)

    def addresses(self, table: str, listen: tuple[Address, ...]) -> tuple[Address, ...]:
        """The addresses of a table, with names resolved."""
        found: list[Address] = []
        for index, address in enumerate(listen):
            key = f"{table}.listen"
            try:
                if address.has_path:
                    found.append(replace(address, options=unix_paths.numeric(address.options)))
                elif sockets.is_name(address):
                    found += self._of_name(address, key, index)
                else:
                    found.append(address)
            except OSError as error:
                self.errors.append(self._fault(key, index, f"{address.label}: {_reason(error, address.host)}"))
        return tuple(found)

    def admin(self, admin: Admin) -> Admin:
        """The admin interface with its group and addresses resolved."""
        if admin.group:
            try:
                gid = int(str(unix_paths.numeric({"group": admin.group})["group"]))
                admin = replace(admin, gid=gid, listen=tuple(_given_to(gid, one) for one in admin.listen))
            except (OSError, ValueError) as error:
                text = f"{error.strerror if isinstance(error, OSError) else error}"
                self.errors.append(self._fault("admin.group", None, text))
        return replace(admin, listen=self.addresses("admin", admin.listen))

    def _of_name(self, address: Address, key: str, index: int) -> Iterator[Address]:
        hosts = self._hosts(address.host)
        missing = {} if COMES_LATER & address.options.keys() else {host: self._not_here(host) for host in hosts}
        here = [host for host in hosts if missing.get(host) is None]
        if not here:
            text = f"{address.label}: no address of {address.host} is on this machine: {', '.join(hosts)}"
            self.errors.append(self._fault(key, index, text))
        else:
            for host in hosts:
                if (error := missing.get(host)) is not None:
                    text = f"{address.label} is not served on {host}: {system_error(error)}"
                    self.warnings.append(self._fault(key, index, text))
        yield from (replace(address, host=host) for host in here)

    def _fault(self, key: str, index: int | None, text: str) -> LocatedError:
        """An error or warning about a key, or about an element of its array."""
        file = self._origins.get(key, (DEFAULT,))[0]
        path = key if index is None else element(key, index)
        return LocatedError(file, "" if str(file).startswith("--") else path, text)


def _not_here(host: str) -> OSError | None:
    """The error of a bind to a host that this machine does not have, or None. The socket is closed at once."""
    try:
        [(family, _, _, _, name), *_] = socket.getaddrinfo(
            host, 0, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(name)
    except OSError as error:
        return error if error.errno in NOT_HERE else None
    return None


def _reason(error: OSError, host: str) -> str:
    if not isinstance(error, socket.gaierror):
        return system_error(error)
    names = (name for name in dir(socket) if name.startswith("EAI_") and getattr(socket, name) == error.errno)
    return f"the name {host} cannot be resolved: {error.strerror} ({next(names, error.errno)})"


def _given_to(gid: int, address: Address) -> Address:
    """An address of the admin interface whose socket belongs to the group, so that its members can connect."""
    if not address.has_path or address.path.startswith("@"):
        return address
    return replace(address, options={"group": str(gid), **address.options})
