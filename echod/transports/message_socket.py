"""The lowest level of a stack of shape MESSAGE: a connected seqpacket socket, watched by the reactor.

Each write is one message. The kernel takes a message whole or not at all. An empty message and the peer's end both
read as no bytes; the kernel sends credentials (SO_PASSCRED) with every message, and with the end it sends none.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, Final

from twisted.internet.error import ConnectionLost

from echod.transports.layers.stack import Facts, MessageTooLarge, Receiver
from echod.transports.socket_poller import Watcher
from echod.transports.stream_socket import NO_ROOM, StreamSocket
from echod.transports.write_retry import WriteRetry

SEND_BUFFER: Final = 262_144  #: bytes asked of the kernel; it grants up to net.core.wmem_max, and takes twice that
A_TURN: Final = 64  #: messages that are sent before other connections are served
CREDENTIALS: Final = socket.CMSG_SPACE(12)  #: room for struct ucred and nothing more: descriptors are closed


def prepare(opened: socket.socket) -> None:
    """Ask for credentials with each message; a listener passes that on to its connections. Raises OSError."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


class MessageSocket(StreamSocket):
    """A connected, non-blocking seqpacket socket. A message of more than `limit` bytes closes the connection."""

    __slots__ = ("_limit",)

    def __init__(
        self,
        watcher: Watcher,
        connected: socket.socket,
        facts: Facts,
        receiver: Receiver,
        clock: Any,
        retry: WriteRetry,
        limit: int,
    ) -> None:
        super().__init__(watcher, connected, facts, receiver, clock, retry)
        self._limit = limit

    def write(self, data: bytes, text: bool | None = None) -> None:
        """Send one message. In `unsent` an empty one counts as a byte."""
        if self._finish or self._gone is not None:
            return
        if len(data) > self._limit:
            self._end(MessageTooLarge())
            return
        self._queue.append(data)
        self.unsent += len(data) or 1
        self._written()

    def doRead(self) -> None:
        """Receive one message."""
        try:
            size = self.socket.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
            if size > self._limit:
                self._end_in_turn(MessageTooLarge())
                return
            data, credentials, flags, _ = self.socket.recvmsg(size, CREDENTIALS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end_in_turn(ConnectionLost(str(error)))
            return
        if flags & socket.MSG_TRUNC:  # another process reads from the same socket
            self._end_in_turn(MessageTooLarge())
        else:
            self._take(data, end=not data and not credentials)

    def _send(self) -> int:
        """Send what waits, up to A_TURN messages; returns how many bytes the kernel took, or -1."""
        count = taken = 0
        try:
            for message in self._queue[:A_TURN]:
                self.socket.send(message)
                count += 1
                taken += len(message) or 1
        except OSError as error:
            if error.errno not in NO_ROOM:
                too_large = error.errno == errno.EMSGSIZE
                self._end(MessageTooLarge() if too_large else ConnectionLost(str(error)))
                return -1
        del self._queue[:count]
        self.unsent -= taken
        if self.unsent:
            self._sent_less(0)
        else:
            self._sent_all()
        return taken
