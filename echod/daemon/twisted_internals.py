"""The names of Twisted that are no part of its interface and that we use: looked for at the start.

The fast path takes turns with the reactor's epoll. A release of Twisted that renames one of these would fail at the
first connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted import __version__ as version
from twisted.internet.epollreactor import EPollReactor

TESTED: Final = "26.10"  #: the newest release whose names were looked at


USED: Final[Mapping[str, tuple[Callable[[], Any], tuple[str, ...]]]] = {
    "twisted.internet.epollreactor.EPollReactor": (lambda: EPollReactor, ("doPoll", "doIteration")),
}
"""What has each of the names, by what it is called."""
OF_THE_REACTOR: Final = ("_poller",)  #: of one that is an EPollReactor


class Incompatible(Exception):
    """This release of Twisted has other names; the message says which are missing."""


def check(reactor: object) -> None:
    """Look for every name. Raises Incompatible."""
    missing = [f"{where}.{name}" for where, (of, names) in USED.items() for name in names if not hasattr(of(), name)]
    if isinstance(reactor, EPollReactor):
        missing += [f"EPollReactor.{name}" for name in OF_THE_REACTOR if not hasattr(reactor, name)]
    if missing:
        raise Incompatible(f"Twisted {version} has no {', '.join(missing)}: install Twisted {TESTED}")
