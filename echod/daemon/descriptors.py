"""Open files: the process takes all it may have, and connections that cannot fit are not promised."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from echod.config.schema import Configuration, ServiceConfig

APART: Final = 64  #: descriptors for listeners, logs, pipes, epoll and what Python opens


class DoesNotFit(Exception):
    """Somebody wrote a number of connections that the hard limit of open files does not allow."""


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def spare(configuration: Configuration) -> int:
    """Descriptors below this number may serve what can do without them: above is room for the largest promise."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - max((one.limits.connections for one in configuration.services), default=0) - APART // 4


def fit(configuration: Configuration, hard: int) -> tuple[Configuration, list[str]]:
    """The configuration with defaults shrunk to `hard` open files, and a line for what was shrunk.

    Raises DoesNotFit, a line for each service, where a written number cannot be met.
    """
    room = hard - APART
    shrunk: list[str] = []
    refused: list[str] = []

    def fitting() -> Iterator[ServiceConfig]:
        for service in configuration.services:
            limits = service.limits
            if limits.connections <= room:
                yield service
            elif "connections" in service.written_limits:
                refused.append(
                    f"services.{service.name}.limits.connections: {limits.connections} + {APART} do not fit the hard"
                    f" limit of {hard} open files; write {max(room, 0)} at most, or raise LimitNOFILE"
                )
            else:
                shrunk.append(service.name)
                yield replace(service, limits=replace(limits, connections=max(room, 1)))

    fitted = tuple(fitting())
    if refused:
        raise DoesNotFit("\n".join(refused))
    lines = [f"connections shrunk to {max(room, 1)}, for {hard} open files are allowed: {', '.join(shrunk)}"]
    return replace(configuration, services=fitted), lines if shrunk else []
