"""One connection attempt of `ping --connect`: a socket that connects, half-closes, and closes after the peer's FIN."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor

from echod.address import Address
from echod.transports.lookup import Target
from echod.transports.sockets import open_socket, prepare_client

LINGER: Final = 1.0  #: seconds that the peer has to close after our half-close
PIECE: Final = 65_536  #: bytes of a read; received data is dropped


class HandshakeFailed(OSError):
    """A handshake after connecting failed; the message says why."""


class Attempt(FileDescriptor):
    """One connection attempt. `ended` is called once: with None if it connected, otherwise with the error.

    A connection is half-closed at once, and closed when the peer closes or after LINGER seconds. Raises OSError if
    the socket cannot be created.
    """

    began = 0.0  #: time of the start, by the clock of the probes
    connected_at: float | None = None  #: time at which a handshake began after connecting

    def __init__(
        self,
        reactor: Any,
        target: Target,
        address: Address,
        patience: float,
        ended: Callable[[Attempt, OSError | None], None],
    ) -> None:
        super().__init__(reactor)
        self.target = target
        self._ended = ended
        self._answered = False
        self.socket = open_socket(address, target[0], socket.SOCK_STREAM)
        try:
            prepare_client(self.socket, address)
            self.socket.setblocking(False)
        except OSError:
            self.socket.close()
            raise
        self._deadline = reactor.callLater(patience, self._too_late)

    def begin(self) -> None:
        """Start connecting."""
        code = self.socket.connect_ex(self.target[1])
        if code == errno.EINPROGRESS:
            self.startWriting()
        else:
            self._decided(code)

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return self.socket.fileno()

    def doWrite(self) -> None:
        """The kernel has connected, or failed to. An event of another socket is ignored, see `_is_undecided`."""
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code or not self._is_undecided():
            self.stopWriting()
            self._decided(code)

    def _is_undecided(self) -> bool:
        """Whether a socket without an error still connects.

        The reactor reads its events in batches. If an earlier event of the batch has closed a socket, the event of that
        socket is reported to a new one with its descriptor.
        """
        try:
            self.socket.getpeername()
        except OSError:
            return True
        return False

    def doRead(self) -> None:
        """Drop received data until the peer closes."""
        try:
            ended = not self.socket.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._close()

    def connectionLost(self, reason: object) -> None:
        """The reactor reports an error, or stops."""
        if not self._answered:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not code and self._is_undecided():
                self.startWriting()
                return
            self._decided(code or errno.ECONNABORTED)
        self._close()

    def _decided(self, code: int) -> None:
        if code:
            self.fail(OSError(code, os.strerror(code)))
        else:
            self.begin_handshake()

    def begin_handshake(self) -> None:
        """Handle the connection. A subclass calls `complete` or `fail` when its handshake has ended."""
        self.complete()

    def fail(self, error: OSError) -> None:
        """Close, and report the error."""
        self._answered = True
        self._close()
        self._ended(self, error)

    def complete(self) -> None:
        """Report the connection, and half-close it."""
        self._answered = True
        self._ended(self, None)
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the peer has reset it already
            self._close()
            return
        self._deadline.reset(LINGER)
        self.startReading()

    def _too_late(self) -> None:
        if self._answered:
            self._close()
        else:
            self._decided(errno.ETIMEDOUT)

    def give_up(self) -> None:
        """Close without calling `ended`."""
        self._answered = True
        self._close()

    def _close(self) -> None:
        if self._deadline.active():
            self._deadline.cancel()
        self.stopReading()
        self.stopWriting()
        self.socket.close()
