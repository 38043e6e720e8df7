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

    found = replace(
        configuration,
        services=tuple(replace(one, listen=tuple(numeric(one.listen))) for one in configuration.services),
        admin=replace(configuration.admin, listen=tuple(numeric(configuration.admin.listen))),
    )
    if faults:
        raise Unbindable(faults)
    return found
