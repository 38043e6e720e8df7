"""Names in addresses, looked up: of hosts, users and groups.

That may take seconds (a name server that does not answer), so it belongs to the reading of a configuration, which a
reload does in a thread. Nothing behind it asks anybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from echod.address import Address
from echod.config.schema import Configuration
from echod.daemon.bind import Unbindable, reason
from echod.transports import paths, sockets


def looked_up(configuration: Configuration) -> Configuration:
    """The same, with each host's addresses for its name, and numbers for users and groups.

    Raises Unbindable, with a line for each name that is not known.
    """
    hosts = cache(sockets.hosts_of)
    faults: dict[str, None] = {}

    def numeric(listen: tuple[Address, ...]) -> Iterator[Address]:
        for address in listen:
            try:
                if address.has_path:
                    yield replace(address, options=paths.numeric(address.options))
                elif sockets.is_name(address):
                    yield from (replace(address, host=host) for host in hosts(address.host))
                else:
                    yield address
            except OSError as error:
                faults[f"{address.place}: {reason(error, address)}"] = None

    admin = configuration.admin
    if admin.group:
        try:
            gid = int(str(paths.numeric({"group": admin.group})["group"]))
            admin = replace(admin, gid=gid, listen=tuple(_given_to(gid, one) for one in admin.listen))
        except (OSError, ValueError) as error:
            faults[f"admin.group: {error.strerror if isinstance(error, OSError) else error}"] = None
    found = replace(
        configuration,
        services=tuple(replace(one, listen=tuple(numeric(one.listen))) for one in configuration.services),
        admin=replace(admin, listen=tuple(numeric(admin.listen))),
    )
    if faults:
        raise Unbindable(faults)
    return found


def _given_to(gid: int, address: Address) -> Address:
    """An address of the admin interface, with its readers' group: they have to connect before they can be refused."""
    if not address.has_path or address.path.startswith("@"):
        return address
    return replace(address, options={"group": str(gid), **address.options})
