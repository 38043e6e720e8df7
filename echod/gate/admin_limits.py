"""How many connections the admin interface may have. They are bounded, and count in the limit of open files. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CLASSES: Final = 3  #: of clients, each with its own limits: owners, other users of the Unix socket, and TCP
SHARE: Final = 8  #: the interface uses at most this part of the limit of open files, as `1 / SHARE`


@dataclass(frozen=True)
class AdminLimits:
    """The limits of each class of clients."""

    at_once: int = 32
    """Connections. Above it, the connection that has been idle longest is reset; if none is idle, the new one.
    Connections with an endless stream are not among them."""
    streams: int = 128
    """Endless streams: pages in browsers, `echoctl events`, consoles. They have their own limit, so that open pages do
    not lock out a metrics scraper."""

    @property
    def connections(self) -> int:
        """The connections of all classes together."""
        return CLASSES * (self.at_once + self.streams)


MOST: Final = AdminLimits()


def admin_limits(files: int) -> AdminLimits:
    """The limits for a process that may have so many open files: at least one connection and one stream of a class."""
    share = min(files // SHARE, MOST.connections) // CLASSES
    streams = max(share // 2, share - MOST.at_once, 1)
    return AdminLimits(max(share - streams, 1), streams)
