"""Datagrams from the other side: a client's connected socket, and its session."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IReactorFDSet

from echod.model import End, Peer, Reply, Say, Session
from echod.names import SocketAddress, inet_name, unix_name
from echod.transports.datagram import A_TURN, LARGEST

KEPT: Final = 64  #: datagrams that are sent again when the first address of a name turns out not to listen

Place = tuple[int, Any]  # family and socket address


class DatagramDialogue(FileDescriptor):
    """A session over datagrams. Where an address of the name refuses before anything was answered, the next one
    is tried, with everything that was said.

    `over` hears once how it ended: None is in order. Raises OSError where no address can be had at all.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        scheme: str,
        places: Iterable[Place],
        prepare: Callable[[socket.socket], None],
        begin: Callable[[Peer, Say], Session],
        over: Callable[[OSError | None], None],
    ) -> None:
        super().__init__(reactor)
        self._places = list(places)
        self._prepare = prepare
        self._over = over
        self._unanswered: list[bytes] = []
        self._answered = False
        self._reached: Any = None
        self.socket = self._connect(OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)))
        self.connected = 1
        self.startReading()
        remote = self._reached if self.socket.family == socket.AF_UNIX else self.socket.getpeername()
        self.session = begin(Peer(scheme, _name(self.socket.getsockname()), _name(remote)), self.perform)

    def begin(self) -> None:
        """Let the session speak."""
        self.perform(self.session.opened())

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return self.socket.fileno()

    def doRead(self) -> None:
        """Hand the session what came."""
        for _ in range(A_TURN):
            try:
                datagram = self.socket.recv(LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error)
                return
            self._answered = True
            self._unanswered.clear()
            self.perform(self.session.received(datagram))
            if not self.connected:
                return

    def perform(self, reply: Reply) -> None:
        """Send what the session says; any end but NOTHING closes."""
        if reply.data is not None and self.connected:
            if not self._answered and len(self._unanswered) < KEPT:
                self._unanswered.append(reply.data)
            self._send(reply.data)
        if reply.end is not End.NOTHING:
            self.close(None)

    def close(self, error: OSError | None) -> None:
        """End, and say how."""
        if self.connected:
            self.connected = 0
            self.stopReading()
            self.socket.close()
            self.session.lost()
            self._over(error)

    def connectionLost(self, reason: object) -> None:
        """The reactor found an error on the socket, and nothing to read; or it ends."""
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if self.connected else 0
        if code:
            self._failed(OSError(code, os.strerror(code)))
        else:
            self.close(None)

    def _send(self, data: bytes) -> None:
        try:
            self.socket.send(data)
        except BlockingIOError:
            pass  # the queues are full: a datagram that finds no room is lost, here as on its way
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if self._answered or not self._places or not isinstance(error, ConnectionRefusedError):
            self.close(error)
            return
        self.stopReading()
        self.socket.close()
        try:
            self.socket = self._connect(error)
        except OSError as last:
            self.socket = socket.socket()  # something to close
            self.close(last)
            return
        self.startReading()
        for data in list(self._unanswered):
            self._send(data)

    def _connect(self, error: OSError) -> socket.socket:
        while self._places:
            family, place = self._places.pop(0)
            opened = socket.socket(family, socket.SOCK_DGRAM)
            try:
                self._prepare(opened)
                opened.connect(place)
                opened.setblocking(False)
                self._reached = place  # a Unix peer's own name is that of its first bind: it may have been renamed
            except OSError as failed:
                opened.close()
                error = failed
            else:
                return opened
        raise error


def _name(name: Any) -> SocketAddress:
    return inet_name(name) if isinstance(name, tuple) else unix_name(name)
