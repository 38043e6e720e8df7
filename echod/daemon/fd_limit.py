"""Open files: the process takes all it may have, and keeps room for what it has promised."""

from __future__ import annotations

import resource

from echod.config.fd_budget import APART
from echod.config.settings import Configuration


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def spare(configuration: Configuration) -> int:
    """Descriptors below this number may serve what can do without them: above is room for the largest promise."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - max((one.limits.connections for one in configuration.services), default=0) - APART // 4
