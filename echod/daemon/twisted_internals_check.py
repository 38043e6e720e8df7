"""Checks at the start that the private names of Twisted that echod uses exist.

The fast path shares the reactor's epoll. Without the check, a release of Twisted that renames one would fail at the
first connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted import __version__ as version
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.tcp import Connection

TESTED: Final = "26.10"  #: the newest release that was checked


USED: Final[Mapping[str, tuple[Callable[[], Any], tuple[str, ...]]]] = {
    "twisted.internet.epollreactor.EPollReactor": (lambda: EPollReactor, ("doPoll", "doIteration")),
    "twisted.internet.tcp.Connection": (lambda: Connection, ("_dataReceived",)),
}
"""The objects by their full names, each with the attributes that echod uses."""
OF_THE_REACTOR: Final = ("_poller",)  #: attributes of an instance of EPollReactor


class Incompatible(Exception):
    """This release of Twisted lacks some of the names; the message lists them."""


def check(reactor: object) -> None:
    """Check every name. Raises Incompatible."""
    missing = [f"{where}.{name}" for where, (of, names) in USED.items() for name in names if not hasattr(of(), name)]
    if isinstance(reactor, EPollReactor):
        missing += [f"EPollReactor.{name}" for name in OF_THE_REACTOR if not hasattr(reactor, name)]
    if missing:
        raise Incompatible(f"Twisted {version} has no {', '.join(missing)}: install Twisted {TESTED}")
