"""The sockets of a port as one reader of the reactor: an epoll of their own, a member of the reactor's.

Twisted wraps each event of each descriptor in a logging context and in further calls. They cost as much as a recv(2).
With a poller, all sockets that are ready in a turn share one such event.

      reactor's epoll ──► poller's epoll ──► socket.doRead, doWrite
"""

from __future__ import annotations

from collections.abc import Callable
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from typing import Any, Final, Protocol

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

_log = Logger()

A_TURN: Final = 64  #: sockets that are served before other readers of the reactor; the kernel reports the rest again
_HANG_UP: Final = EPOLLHUP | EPOLLERR


class Watched(Protocol):
    """A socket that a watcher watches."""

    watched: int  #: the events that it is watched for; only the watcher changes this

    def fileno(self) -> int:
        """Its descriptor."""

    def doRead(self) -> None:
        """As IReadDescriptor, but it returns nothing."""

    def doWrite(self) -> None:
        """As IWriteDescriptor, but it returns nothing."""

    def connectionLost(self, reason: Any) -> None:
        """Handle a hang-up that the kernel reports, or the end of the reactor; `reason` is a Failure."""


class Watcher(Protocol):
    """Watches sockets for EPOLLIN and EPOLLOUT."""

    def join(self, socket: Watched) -> None:
        """Add a socket, without events for now."""

    def watch(self, socket: Watched, events: int) -> None:
        """Watch a socket for `events` only."""

    def forget(self, socket: Watched) -> None:
        """Stop watching a socket that is about to be closed."""

    def soon(self, call: Callable[[], object]) -> None:
        """Call it in the next turn of the reactor."""


class ReactorWatcher:
    """A watcher that registers each socket with the reactor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def join(self, socket: Watched) -> None:
        socket.watched = 0

    def watch(self, socket: Watched, events: int) -> None:
        changed, socket.watched = socket.watched ^ events, events
        if changed & EPOLLIN:
            (self._reactor.addReader if events & EPOLLIN else self._reactor.removeReader)(socket)
        if changed & EPOLLOUT:
            (self._reactor.addWriter if events & EPOLLOUT else self._reactor.removeWriter)(socket)

    def forget(self, socket: Watched) -> None:
        self.watch(socket, 0)

    def soon(self, call: Callable[[], object]) -> None:
        self._reactor.callLater(0, call)


@implementer(IReadDescriptor)
class SocketPoller:
    """A watcher with an epoll of its own.

    The epoll is opened for the first socket. It is closed after the last socket, unless `keep` is set.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll: epoll | None = None
        self._sockets: dict[int, Watched] = {}
        self._keep = False

    def open(self) -> bool:
        """Open the epoll if it is not open. Return False if the process has no descriptor left."""
        if self._epoll is None:
            try:
                self._epoll = epoll()
            except OSError:
                return False
            self._reactor.addReader(self)
        return True

    def keep(self, keep: bool) -> None:
        """Choose whether the epoll stays open while it has no sockets."""
        self._keep = keep
        self._close_if_unused()

    def join(self, socket: Watched) -> None:
        """Add a socket, without events for now. The poller must be open."""
        socket.watched = 0
        self._sockets[socket.fileno()] = socket

    def watch(self, socket: Watched, events: int) -> None:
        before = socket.watched
        if events == before:
            return
        assert self._epoll is not None
        socket.watched = events
        descriptor = socket.fileno()
        if not before:
            self._epoll.register(descriptor, events)
        elif events:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.unregister(descriptor)

    def forget(self, socket: Watched) -> None:
        del self._sockets[socket.fileno()]  # the close that follows removes the descriptor from the epoll
        if not self._keep:
            self._close_if_unused()

    def soon(self, call: Callable[[], object]) -> None:
        self._reactor.callLater(0, call)

    def _close_if_unused(self) -> None:
        if self._epoll is not None and not self._keep and not self._sockets:
            self._reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None

    # for the reactor

    def fileno(self) -> int:
        """The descriptor of the epoll, which is readable while a socket is ready; -1 if it is closed."""
        return self._epoll.fileno() if self._epoll is not None else -1

    def doRead(self) -> None:
        """Serve the sockets that are ready, up to A_TURN."""
        assert self._epoll is not None
        sockets = self._sockets
        for descriptor, events in self._epoll.poll(0, A_TURN):
            served = sockets.get(descriptor)
            if served is None:  # closed by a socket that was served earlier in this turn
                continue
            try:
                if events & EPOLLIN:
                    served.doRead()
                    if events & EPOLLOUT:
                        served.doWrite()
                elif events & _HANG_UP:
                    reading = served.watched & EPOLLIN
                    served.connectionLost(Failure(ConnectionDone() if reading else ConnectionLost()))
                else:
                    served.doWrite()
            except Exception:
                _log.failure("a socket failed; it is closed")
                served.connectionLost(Failure())

    def connectionLost(self, reason: Failure) -> None:
        """Close all sockets, because the reactor ends."""
        for served in tuple(self._sockets.values()):
            served.connectionLost(reason)

    def logPrefix(self) -> str:
        return "echod"
