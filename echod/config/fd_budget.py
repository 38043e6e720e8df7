"""Checks `connections` against the limit of open files. Defaults are reduced; configured values must fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from echod.config.errors import ConfigurationError, LocatedError, joined
from echod.config.line_numbers import located
from echod.config.settings import Configuration, ServiceConfig
from echod.gate.admin_limits import admin_limits

APART: Final = 64  #: descriptors for logs, pipes, epoll, Python, and the listeners of INCLUDED addresses
INCLUDED: Final = 12  #: addresses whose descriptors are part of APART
A_LISTENER: Final = 4  #: descriptors of a listener: its socket, its epoll, and both ends of the fast path's pipe


def fit(configuration: Configuration, hard: int) -> tuple[Configuration, list[str]]:
    """The configuration with default limits reduced to fit `hard` open files, and a warning if any were reduced.

    Raises ConfigurationError with an error for each configured limit that does not fit.
    """
    listens = (configuration.admin.listen, *(service.listen for service in configuration.services))
    addresses = sum(len(address.each) for listen in listens for address in listen)
    apart = APART + A_LISTENER * max(0, addresses - INCLUDED)
    if configuration.admin.listen and configuration.daemon.workers == 1:  # with workers, the parent serves no clients
        apart += admin_limits(hard).connections
    room = hard - apart
    reduced: list[str] = []
    errors: list[LocatedError] = []

    def fitting() -> Iterator[ServiceConfig]:
        for service in configuration.services:
            limits = service.limits
            if limits.connections <= room:
                yield service
            elif (key := service.written_limits.get("connections")) is not None:
                (file,) = configuration.origins[f"{joined('services', service.name)}.limits.connections"]
                text = (
                    f"{limits.connections} + {apart} exceed the hard limit of {hard} open files;"
                    f" expected at most {max(room, 0)}, or a higher limit (LimitNOFILE= in a unit, ulimit -n)"
                )
                errors.append(LocatedError(file, key, text))
            else:
                reduced.append(service.name)
                yield replace(service, limits=replace(limits, connections=max(room, 1)))

    fitted = tuple(fitting())
    if errors:
        raise ConfigurationError(located(dict.fromkeys(errors), configuration.texts))
    lines = [f"connections reduced to {max(room, 1)}, because the limit of open files is {hard}: {', '.join(reduced)}"]
    return replace(configuration, services=fitted), lines if reduced else []
