"""The lowest level of a stack of shape MESSAGE: a connected seqpacket socket, watched by the reactor.

Each write is one message. The kernel accepts a whole message or refuses it. An empty message and the peer's end both
read as no bytes. The credentials tell them apart: the kernel adds them (SO_PASSCRED) to messages only.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, Final

from echod.transports.connection_failed import ConnectionFailed
from echod.transports.layers.layer_interface import Facts, MessageTooLarge, Receiver
from echod.transports.port_epoll import Watcher
from echod.transports.stream_socket import NO_ROOM, StreamSocket
from echod.transports.write_retry import WriteRetry

SEND_BUFFER: Final = 262_144  #: bytes requested from the kernel; it grants up to net.core.wmem_max, and doubles that
A_TURN: Final = 64  #: messages sent before other connections are served
CREDENTIALS: Final = socket.CMSG_SPACE(12)  #: struct ucred only: the kernel closes descriptors that are passed


def prepare(opened: socket.socket) -> None:
    """Request credentials with each message; connections inherit this from their listener. Raises OSError."""
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
        """Send one message. An empty message counts as one byte in `unsent`."""
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
            self._end_in_turn(ConnectionFailed(error))
            return
        if flags & socket.MSG_TRUNC:  # another process reads from the same socket
            self._end_in_turn(MessageTooLarge())
        else:
            self._take(data, end=not data and not credentials)

    def _send(self) -> int:
        """Send queued messages, up to A_TURN. Return how many bytes the kernel accepted, or -1 after an error."""
        count = taken = 0
        try:
            for message in self._queue[:A_TURN]:
                self.socket.send(message)
                count += 1
                taken += len(message) or 1
        except OSError as error:
            if error.errno not in NO_ROOM:
                too_large = error.errno == errno.EMSGSIZE
                self._end(MessageTooLarge() if too_large else ConnectionFailed(error))
                return -1
        del self._queue[:count]
        self.unsent -= taken
        if self.unsent:
            self._sent_less(0)
        else:
            self._sent_all()
        return taken
