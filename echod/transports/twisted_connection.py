"""The lowest level of a stack on a connection that Twisted has made, for an endpoint string or a client.

It is a Twisted protocol, and a StreamTransport for the level above. Twisted does not report how many bytes the kernel
has accepted. But it asks a pull producer for more after it has written everything. So this class queues the data, and
gives Twisted one piece at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPullProducer,
    IStreamClientEndpoint,
    IWriteDescriptor,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.transports.kernel_socket import unacknowledged
from echod.transports.layers.layer_interface import LINGER, Facts, LingerTimeout, Receiver
from echod.transports.peers import facts_of
from echod.transports.sockets import clamp

READ: Final = 65_536  #: bytes that may be queued, until the receiver sets a limit


@implementer(IHalfCloseableProtocol, IPullProducer)
class TwistedSocket(Protocol):
    """A connection of Twisted as a StreamTransport. `clock` is as in StreamSocket; `build` makes the receiver."""

    transport: Any  # Twisted's interfaces declare only a part of it
    facts: Facts
    receiver: Receiver

    def __init__(self, build: Callable[[], Receiver], clock: Any) -> None:
        self._build = build
        self._clock = clock
        self.dropped = 0
        self._queue: list[bytes] = []
        self._queued = 0  # bytes in the queue
        self._handed = 0  # bytes that Twisted has, and that the kernel may not have accepted
        self._most = READ
        self._stuck = self._producing = False
        self._ended = self._finish = self._finished = self._closing = False
        self._linger = 0.0
        self._timer: Any = None
        self._reason: Exception | None = None  # why it is aborted
        self._gone = False

    # for Twisted

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.facts = facts_of(self.transport)
        self.receiver = self._build()
        self.receiver.begin(self)

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            self.dropped += len(data)
        else:
            self.receiver.received(data)

    def readConnectionLost(self) -> None:
        self._ended = True
        if self._closing:
            self._close_if_over()
        else:
            self.receiver.ended()

    def writeConnectionLost(self) -> None:
        self._finished = True
        self._close_if_over()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        self._cancel()
        value = reason.value
        self.receiver.lost(self._reason or (value if isinstance(value, Exception) else ConnectionAborted()))

    def resumeProducing(self) -> None:
        """Give Twisted the queued data, since it has written everything before; or report the queue as drained."""
        self._handed = 0
        if self._queue:
            piece = b"".join(self._queue)
            self._queue, self._queued, self._handed = [], 0, len(piece)
            self.transport.write(piece)
            return
        if not self._producing:  # the call comes from registerProducer
            return
        self._producing = False
        self.transport.unregisterProducer()
        if self._stuck:
            self._stuck = False
            self.receiver.drained()
        if self._finish and not self.unsent:
            self._shut()

    def stopProducing(self) -> None:
        """Drop the queue, because Twisted closes the connection."""
        self._queue, self._gone = [], True

    # for the level above

    @property
    def unsent(self) -> int:
        return self._queued + self._handed

    def write(self, data: bytes, text: bool | None = None) -> None:
        if self._finish or self._gone or self._reason is not None or not data:
            return
        self._queue.append(data)
        self._queued += len(data)
        if not self._producing:
            self._producing = True
            self.transport.registerProducer(self, False)
        if self.unsent > self._most and not self._stuck:
            self._stuck = True
            self.receiver.stuck()

    def flush(self) -> None:
        if self._handed and not self._gone and IWriteDescriptor.providedBy(self.transport):
            self.transport.doWrite()

    def pause(self) -> None:
        if not (self._ended or self._gone or self._closing):
            self.transport.pauseProducing()

    def resume(self) -> None:
        if not (self._ended or self._gone):
            self.transport.resumeProducing()

    def read_at_once(self, size: int) -> None:
        self._most = self.transport.bufferSize = size

    def clamp(self) -> None:
        clamp(self.transport)

    def keep_alive(self) -> None:
        """Do nothing: the kernel sends probes."""

    def finish(self) -> None:
        if not self._finish:
            self._finish = True
            if not self.unsent:
                self._shut()

    def close(self, linger: float = LINGER) -> None:
        if self._closing:
            self._linger = min(self._linger, linger)
            self._close_if_over()
        else:
            self._closing, self._linger = True, linger
            self.resume()
            if self._finished:
                self._close_if_over()
            else:
                self.finish()

    def abort(self, reason: Exception | None = None) -> None:
        self._abort(reason or ConnectionAborted())

    # inside

    def _shut(self) -> None:
        if self._gone or self._reason is not None:
            return
        if self._closing and (self._ended or not self._linger):
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _close_if_over(self) -> None:
        if not self._closing or not self._finished:
            return
        if self._ended or not self._linger:
            self.transport.loseConnection()
        elif self._timer is None:
            self._timer = self._clock.callLater(self._linger, self._lingered, self._unacknowledged())

    def _lingered(self, before: int) -> None:
        self._timer = None
        if 0 < self._unacknowledged() < before:  # the FIN is behind data that the peer still reads
            self._close_if_over()
        else:
            self._abort(LingerTimeout())

    def _unacknowledged(self) -> int:
        """Bytes that the peer has not acknowledged; 0 if unknown, as for a transport without a socket."""
        opened = getattr(self.transport, "socket", None)
        return 0 if opened is None else unacknowledged(opened)

    def _abort(self, reason: Exception) -> None:
        if self._reason is None and not self._gone:
            self._reason = reason
            self._cancel()
            self.transport.abortConnection()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def dial(endpoint: IStreamClientEndpoint, build: Callable[[], Receiver], clock: Any) -> Deferred[Any]:
    """Connect to an endpoint, and begin the receiver that `build` makes. Fails as the endpoint does."""
    factory = Factory()
    factory.noisy = False
    factory.protocol = partial(TwistedSocket, build, clock)
    connected: Deferred[Any] = endpoint.connect(factory)
    return connected
