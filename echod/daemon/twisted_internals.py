"""The names of Twisted that are no part of its interface and that we use: looked for at the start.

The fast path takes turns with the reactor's epoll, and connections know what waits in Twisted's buffers. A release of
Twisted that renames one of these would fail at the first connection, or count unsent bytes as 0 for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted import __version__ as version
from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.tcp import Server

TESTED: Final = "26.10"  #: the newest release whose names were looked at


def _descriptor() -> FileDescriptor:
    return FileDescriptor(object())  # type: ignore[arg-type]  # it only keeps the reactor


USED: Final[Mapping[str, tuple[Callable[[], Any], tuple[str, ...]]]] = {
    "twisted.internet.tcp.Server": (
        lambda: Server,
        ("_closeSocket", "_writeDisconnecting", "doRead", "doWrite", "writeSomeData", "startWriting"),
    ),
    "twisted.internet.abstract.FileDescriptor": (
        _descriptor,
        ("_tempDataLen", "dataBuffer", "offset", "producer", "producerPaused", "disconnecting"),
    ),
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
