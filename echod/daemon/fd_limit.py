"""The limit of open files: raised to the maximum, with descriptors kept free for the configured connections."""

from __future__ import annotations

import resource

from echod.config.fd_budget import APART
from echod.config.settings import Configuration


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard limit, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def spare(configuration: Configuration) -> int:
    """The number below which descriptors may be used for pipes, which are optional.

    Those above are kept free for the largest `connections` of a service.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - max((one.limits.connections for one in configuration.services), default=0) - APART // 4
