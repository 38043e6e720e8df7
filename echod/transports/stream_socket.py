"""The lowest level of a stack: a connected stream socket, watched by the reactor.

Its rules:

* Replies to received data are sent in the same turn, by one send. The reactor watches for writing only while the kernel
  does not accept all data.
* Data that is written outside a read is sent in the next turn of the reactor, in one send.
* A connection that fails is closed with RST, because a FIN would tell the peer that it has received everything.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from select import EPOLLIN, EPOLLOUT
from typing import Any, Final

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from echod.gate.total_buffer import KERNEL_BUFFER
from echod.transports.connection_failed import ConnectionFailed, after_hang_up
from echod.transports.kernel_socket import unacknowledged
from echod.transports.layers.detaching import Detached
from echod.transports.layers.layer_interface import LINGER, Facts, LingerTimeout, Receiver
from echod.transports.port_epoll import Watcher
from echod.transports.write_retry import WriteRetry

_log = Logger()

READ: Final = 65_536  #: bytes of one recv, until the receiver sets a size
SEND: Final = 131_072  #: bytes of one send: the kernel would refuse most of a larger copy
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  #: SO_LINGER: close sends RST immediately, and leaves no TIME_WAIT
NO_ROOM: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.EINTR})
"""Errors of send(2) if the kernel accepts no data now, and may accept it later."""


@implementer(IReadWriteDescriptor)
class StreamSocket:
    """A connected, non-blocking stream socket as a StreamTransport.

    `clock` measures the time that a peer has to finish after `close`. A port's sockets share `watcher` and `retry`.
    """

    __slots__ = (
        "_clock", "_closing", "_data", "_ended", "_finish", "_finished", "_gone", "_in_turn", "_linger",
        "_offset", "_paused", "_queue", "_read_size", "_retry", "_stuck", "_timer", "_watcher", "_writing",
        "dropped", "facts", "receiver", "socket", "unsent", "watched",
    )  # fmt: skip

    def __init__(
        self, watcher: Watcher, opened: socket.socket, facts: Facts, receiver: Receiver, clock: Any, retry: WriteRetry
    ) -> None:
        self.socket, self.facts, self.receiver = opened, facts, receiver
        self.unsent = self.dropped = self.watched = 0
        self._watcher, self._clock, self._retry = watcher, clock, retry
        self._read_size = READ
        self._queue: list[bytes] = []  # data written, and not part of `_data` yet
        self._data, self._offset = b"", 0  # the data being sent, and how many bytes the kernel has accepted
        self._in_turn = False  # a call of the receiver is running; its output is sent afterwards
        self._paused = self._stuck = self._writing = False
        self._ended = False  # the peer has finished
        self._finish = self._finished = False  # FIN requested; FIN sent
        self._closing = False
        self._linger = 0.0
        self._timer: Any = None
        self._gone: Exception | None = None  # why the socket is closed
        watcher.join(self)

    def start(self) -> None:
        """Call the receiver's `begin`, and watch for input."""
        self._in_turn = True
        try:
            self.receiver.begin(self)
        except Exception:
            self._bug()
        self._watch_input()
        self._end_turn()

    # for the level above

    def write(self, data: bytes, text: bool | None = None) -> None:
        if self._finish or self._gone is not None or not data:
            return
        self._queue.append(data)
        self.unsent += len(data)
        self._written()

    def _written(self) -> None:
        if not self._in_turn and not self._writing:
            self._watch_writing()
        if self.unsent > self._read_size and not self._stuck:
            self._stuck = True
            self.receiver.stuck()

    def flush(self) -> None:
        if self._queue and self._gone is None and not self._in_turn and not self._stuck:
            self._in_turn = True
            self._send()
            self._in_turn = False
            if self.fileno() < 0:  # closed: it failed, or this was the last data after both sides had ended
                self._watcher.soon(self._tell_lost)

    def pause(self) -> None:
        if not self._paused and not self._closing:
            self._paused = True
            self._watch_input()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._watch_input()

    def read_at_once(self, size: int) -> None:
        self._read_size = size

    def clamp(self) -> None:
        # After a size is set, Linux no longer tunes the buffer (tcp(7)). It does not grow the buffer of a Unix socket.
        if self._gone is None and self.socket.family != socket.AF_UNIX:
            with suppress(OSError):  # the peer has just reset it
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)

    def keep_alive(self) -> None:
        """Do nothing: the kernel sends probes."""

    def finish(self) -> None:
        if not self._finish and self._gone is None:
            self._finish = True
            if not self._in_turn and not self.unsent:
                self._shut()

    def close(self, linger: float = LINGER) -> None:
        if self._gone is not None:
            return
        if self._closing:
            self._linger = min(self._linger, linger)
            if not self._in_turn:
                self._close_if_over()
            return
        self._closing, self._linger = True, linger
        self.resume()
        self._finish = True
        if not self._in_turn and not self.unsent:
            self._shut()

    def abort(self, reason: Exception | None = None) -> None:
        self._end(reason or ConnectionAborted())

    def detach(self) -> Detached:
        """Give up the open socket, with its pending output. The levels above get no more calls."""
        self._watcher.watch(self, 0)
        self._watcher.forget(self)
        self._retry.forget(self)
        self._gone, self.receiver = ConnectionDone(), None  # type: ignore[assignment]  # no call after this
        unsent = b"".join((self._data[self._offset :], *self._queue))
        self._data, self._queue = b"", []
        return Detached(self.socket, unsent=unsent)

    # for the reactor

    def fileno(self) -> int:
        return self.socket.fileno()

    def doRead(self) -> None:
        try:
            data = self.socket.recv(self._read_size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end_in_turn(ConnectionFailed(error))
            return
        self._take(data, end=not data)

    def _take(self, data: bytes, *, end: bool) -> None:
        """Give the receiver the data, and send its output."""
        self._in_turn = True
        try:
            if end:
                self._ended = True
                if not self._closing:
                    self.receiver.ended()
            elif self._closing:
                self.dropped += len(data)
            else:
                self.receiver.received(data)
        except Exception:
            self._bug()
        self._end_turn()
        if end:  # only now: most connections are closed by this end
            self._watch_input()

    def doWrite(self) -> None:
        if self._gone is None:
            self._in_turn = True
            if self._send() == 0 and self.unsent:
                self._watcher.watch(self, self.watched & ~EPOLLOUT)
                self._retry.add(self, self._watch_writing)
            self._in_turn = False
            self._tell_lost()

    def connectionLost(self, reason: Any) -> None:
        """Close the socket after a hang-up, or because the reactor ends."""
        hung_up = type(reason.value) is ConnectionLost and self._gone is None
        self._end_in_turn(after_hang_up(self.socket) if hung_up else reason.value)

    def logPrefix(self) -> str:
        return "echod"

    # inside

    def _end_turn(self) -> None:
        """Send, finish or close after a call of the receiver has returned."""
        if self._gone is None:
            if self.unsent:
                if not self._writing:
                    self._send()
            elif self._finish and not self._finished:
                self._shut()
            elif self._closing:
                self._close_if_over()
        self._in_turn = False
        if self._gone is not None:
            self._tell_lost()

    def _end_in_turn(self, reason: Exception) -> None:
        self._in_turn = True
        self._end(reason)
        self._in_turn = False
        self._tell_lost()

    def _bug(self) -> None:
        _log.failure("a level of a connection failed; the connection is reset")
        self._end(ConnectionAborted())

    def _send(self) -> int:
        """Call send once. Returns how many bytes the kernel accepted, or -1 if the connection failed."""
        if self._offset == len(self._data):
            queue = self._queue
            self._data, self._offset = queue[0] if len(queue) == 1 else b"".join(queue), 0
            self._queue = []
        try:
            sent = self._give()
        except OSError as error:
            if error.errno not in NO_ROOM:
                self._end(ConnectionFailed(error))
                return -1
            sent = 0
        self.unsent -= sent
        if self.unsent:
            self._sent_less(sent)
            return sent
        self._data, self._offset = b"", 0
        self._sent_all()
        return sent

    def _sent_all(self) -> None:
        if self._writing:
            self._writing = False
            self._watcher.watch(self, self.watched & ~EPOLLOUT)
        if self._stuck:
            self._stuck = False
            try:
                self.receiver.drained()
            except Exception:
                self._bug()
            if self._queue:  # send in the next turn, so that a fast peer does not prolong this one
                self._watch_writing()
                return
        if self._finish:
            self._shut()

    def _give(self) -> int:
        """Pass up to SEND bytes to the kernel. Raises OSError."""
        if self._offset or len(self._data) > SEND:
            return self.socket.send(memoryview(self._data)[self._offset : self._offset + SEND])
        return self.socket.send(self._data)

    def _sent_less(self, sent: int) -> None:
        self._offset += sent
        if not self._writing:
            self._watch_writing()
        if not self._stuck:
            self._stuck = True
            self._data, self._offset = self._data[self._offset :], 0  # sent bytes are not kept
            self.receiver.stuck()

    def _watch_input(self) -> None:
        """Watch for input, unless reading pauses or the peer has finished."""
        if self._gone is None:
            reading = 0 if self._paused or self._ended else EPOLLIN
            self._watcher.watch(self, self.watched & ~EPOLLIN | reading)

    def _watch_writing(self) -> None:
        if self._gone is None:
            self._writing = True
            self._watcher.watch(self, self.watched | EPOLLOUT)

    def _shut(self) -> None:
        if not self._finished and self._gone is None:
            self._finished = True
            if not (self._closing and self._ended):  # otherwise closing sends the FIN
                with suppress(OSError):  # the peer has reset it: the next read reports that
                    self.socket.shutdown(socket.SHUT_WR)
        if self._closing:
            self._close_if_over()

    def _close_if_over(self) -> None:
        """Close when both sides have finished, or after the linger time of the peer."""
        if not self._finished or self._gone is not None:
            return
        if self._ended or not self._linger:
            self._end(ConnectionDone())
        elif self._timer is None:
            self._timer = self._clock.callLater(self._linger, self._lingered, unacknowledged(self.socket))

    def _lingered(self, before: int) -> None:
        self._timer = None
        if 0 < unacknowledged(self.socket) < before:  # the FIN is behind data that the peer still reads
            self._close_if_over()
        else:
            self._end_in_turn(LingerTimeout())

    def _end(self, reason: Exception) -> None:
        """Close the socket now; `lost` is called when no call of the receiver is running."""
        if self._gone is not None:
            return
        self._gone = reason
        self._watcher.forget(self)
        self._retry.forget(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not isinstance(reason, ConnectionDone):
            with suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.socket.close()
        self._queue, self._data = [], b""
        if not self._in_turn:
            self._watcher.soon(self._tell_lost)

    def _tell_lost(self) -> None:
        receiver, reason = self.receiver, self._gone
        if receiver is not None and reason is not None:
            self.receiver = None  # type: ignore[assignment]  # no call after this
            receiver.lost(reason)
