"""How many connections the limit of open files allows: defaults shrink to it, and what is written must fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from echod.config.errors import ConfigurationError, Fault, joined
from echod.config.line_numbers import located
from echod.config.settings import Configuration, ServiceConfig

APART: Final = 64  #: descriptors for logs, pipes, epoll, what Python opens, and the listeners of the first INCLUDED
INCLUDED: Final = 12  #: addresses
A_LISTENER: Final = 3  #: descriptors of one: its socket, and the two ends of the pipe by which the plane carries


def fit(configuration: Configuration, hard: int) -> tuple[Configuration, list[str]]:
    """The configuration with defaults shrunk to `hard` open files, and a line for what was shrunk.

    Raises ConfigurationError, with a fault for each key where a written number cannot be met.
    """
    addresses = len(configuration.admin.listen) + sum(len(service.listen) for service in configuration.services)
    apart = APART + A_LISTENER * max(0, addresses - INCLUDED)
    room = hard - apart
    shrunk: list[str] = []
    faults: list[Fault] = []

    def fitting() -> Iterator[ServiceConfig]:
        for service in configuration.services:
            limits = service.limits
            if limits.connections <= room:
                yield service
            elif (key := service.written_limits.get("connections")) is not None:
                (file,) = configuration.origins[f"{joined('services', service.name)}.limits.connections"]
                said = (
                    f"{limits.connections} + {apart} do not fit the hard limit of {hard} open files;"
                    f" write {max(room, 0)} at most, or raise it (LimitNOFILE= of a unit, ulimit -n of a shell)"
                )
                faults.append(Fault(file, key, said))
            else:
                shrunk.append(service.name)
                yield replace(service, limits=replace(limits, connections=max(room, 1)))

    fitted = tuple(fitting())
    if faults:
        raise ConfigurationError(located(dict.fromkeys(faults), configuration.texts))
    lines = [f"connections shrunk to {max(room, 1)}, for {hard} open files are allowed: {', '.join(shrunk)}"]
    return replace(configuration, services=fitted), lines if shrunk else []
