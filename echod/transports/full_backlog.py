"""The fault `backlog-full`: a port accepts no connections, and its listen queue is full.

The kernel then drops each SYN of a client over TCP, so that connect(2) takes until the client's timeout. Over a Unix
socket connect(2) blocks, or fails with EAGAIN. The queue holds `QUEUE` + 1 connections (listen(2), tcp(7)): the port
itself makes them.
"""

from __future__ import annotations

import socket as sockets
from contextlib import suppress
from typing import Any, Final, Protocol

from echod.faults.injector import FaultInjector
from echod.transports.sockets import accept

QUEUE: Final = 1
"""The length of the short queue. With 0 the kernel would send SYN cookies, and log a flood (tcp_syncookies)."""


class FillablePort(Protocol):
    """The port whose queue is filled."""

    socket: sockets.socket
    backlog: int

    @property
    def own_name(self) -> Any:
        """The address of the socket; it may be a wildcard."""

    def startReading(self) -> None:
        """Accept again."""

    def stopReading(self) -> None:
        """Accept nothing."""

    def serve_accepted(self, accepted: sockets.socket, name: Any) -> None:
        """Serve a connection that was accepted."""


class FullBacklog:
    """Fills the queue of a port during that fault of its service. `count` counts that, by the fault's key."""

    def __init__(self, port: FillablePort, injector: FaultInjector, count: Any) -> None:
        self.full = False
        self._port, self._injector, self._count = port, injector, count
        self._own: list[sockets.socket] = []  # the connections that fill the queue

    def begin(self) -> None:
        """Follow the faults from now on."""
        self._injector.subscribe(self._follow)
        self._follow()

    def end(self) -> None:
        """Take its own connections out of the queue."""
        self._injector.unsubscribe(self._follow)
        if self.full:
            self._empty()

    def _follow(self) -> None:
        wanted = self._injector.current.backlog_full
        if wanted and not self.full:
            self._fill()
        elif self.full and not wanted:
            self._empty()
            self._port.startReading()

    def _fill(self) -> None:
        self.full = True
        port = self._port
        port.stopReading()
        port.socket.listen(QUEUE)
        name = _reachable(port.socket.family, port.own_name)
        for _ in range(QUEUE + 1):
            own = sockets.socket(port.socket.family, port.socket.type)
            self._own.append(own)
            own.setblocking(False)
            with suppress(OSError):  # in progress; or the queue has connections of clients, or filters apply
                if own.family == sockets.AF_UNIX:
                    own.bind("")  # a name by which it is recognised (unix(7), autobind)
                own.connect(name)
        self._count("backlog-full", 1)
        self._injector.report("backlog-full")

    def _empty(self) -> None:
        """Restore the queue, and serve the clients in it."""
        self.full = False
        port = self._port
        port.socket.listen(port.backlog)
        names = {own.getsockname() for own in self._own}
        with suppress(OSError):  # EAGAIN: the queue is empty
            while names:
                accepted, name = accept(port.socket)
                if name in names:
                    names.remove(name)
                    accepted.close()
                else:
                    port.serve_accepted(accepted, name)
        for own in self._own:
            own.close()
        self._own.clear()


def _reachable(family: int, name: Any) -> Any:
    """The address to connect to: that of the socket, with loopback for a wildcard."""
    if family == sockets.AF_INET and name[0] == "0.0.0.0":
        return ("127.0.0.1", name[1])
    if family == sockets.AF_INET6 and name[0] == "::":
        return ("::1", *name[1:])
    return name
