"""Accepting connections: a bounded number in each turn, and a pause after errors.

`StreamPort` is the listening port of every plain stream and of every seqpacket socket.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorFDSet

from echod.address import BACKLOG
from echod.events import Closing
from echod.gate.refusal import Refusal
from echod.socket_names import SocketAddress
from echod.transports.accept_backoff import AcceptBackoff, SpareDescriptor
from echod.transports.accept_share import LEFT, AcceptShare
from echod.transports.connection_failed import ConnectionFailed
from echod.transports.fault_factory import FaultFactory
from echod.transports.full_backlog import FullBacklog
from echod.transports.kernel_socket import KernelSocket
from echod.transports.layers.layer_interface import Facts, Layer, Receiver
from echod.transports.port_epoll import ReactorWatcher, SocketPoller, Watcher
from echod.transports.service_factory import ServiceFactory
from echod.transports.sockets import accept
from echod.transports.stream_socket import RESET_ON_CLOSE, StreamSocket
from echod.transports.write_retry import WriteRetry

ACCEPT: Final = 16  #: units of the work budget that a new connection and its session cost: 30 to 40 µs
AT_LEAST: Final = 4  #: connections accepted in a turn even if its work budget is used up
A_TURN: Final = 64  #: connections accepted in one turn; Twisted's own limit is not bounded


class StreamPort(FileDescriptor):
    """A listening socket, and the factory that it serves.

    A subclass implements the address of a peer, and may replace the lowest level of a connection. `close` is called at
    the end, to close the socket and to remove its path.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        listening: socket.socket,
        factory: ServiceFactory,
        reserve: SpareDescriptor,
        close: Callable[[], None],
    ) -> None:
        super().__init__(reactor)
        self.reactor: Any = reactor
        self.socket = listening
        self.factory = factory
        self.close_socket = close
        self.backlog = BACKLOG  #: the length of the listen queue
        self._full_backlog: FullBacklog | None = None  # of a service with faults, while this listens
        self._resume: DelayedCall | None = None
        self._share = AcceptShare(factory.gate)
        self._backoff = AcceptBackoff(factory.label, reserve, self._tell)
        self._retry = WriteRetry(reactor)
        self._poller = SocketPoller(reactor)
        self._reactor_watcher = ReactorWatcher(reactor)

    @property
    def is_bare(self) -> bool:
        """Whether a connection is a stream socket and a conversation, with no layer between them."""
        return not self.factory.layers and not self.factory.injects

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return self.socket.fileno()

    def startListening(self) -> None:
        """Serve from now on."""
        self.connected = 1
        self._poller.keep(True)
        self.factory.doStart()
        self.startReading()
        if isinstance(self.factory, FaultFactory):
            self._full_backlog = FullBacklog(self, self.factory.injector, self.factory.counters.inject)
            self._full_backlog.begin()

    def stopListening(self) -> None:
        """Accept the clients in the listen queue, then close the socket. Open connections continue."""
        if self.connected:
            self._end_full_backlog()
            if self._resume is None or self._share.leaving:
                accept_backlog(self.accept_turn)
            self.release()
            self.close_socket()

    def release(self) -> None:
        """Leave the socket to another port. Open connections continue."""
        self._end_full_backlog()
        self.connected = 0
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        self.stopReading()
        self._poller.keep(False)
        self.factory.doStop()

    def _end_full_backlog(self) -> None:
        if self._full_backlog is not None:
            self._full_backlog.end()
            self._full_backlog = None

    def doRead(self) -> None:
        """Accept clients while the turn has units of the work budget; AT_LEAST even after that."""
        if most := self._share.most(A_TURN):
            self.accept_turn(most, within_budget=True)
        else:
            self.stopReading()
            self._resume = self.reactor.callLater(LEFT, self._read_again)

    def accept_turn(self, most: int = A_TURN, *, within_budget: bool = False) -> bool:
        """Accept clients, up to `most`. With `within_budget`, stop after AT_LEAST if the work budget is used up.

        Returns whether more clients may be waiting.
        """
        work = self.factory.service.context.work
        for count in range(most):
            if within_budget and work.is_used_up and count >= AT_LEAST:
                break
            try:
                accepted, name = accept(self.socket)
            except BlockingIOError:
                return False
            except OSError as error:
                if pause := self._backoff.pause_after(error, self.shed):
                    self.stopReading()
                    self._resume = self.reactor.callLater(pause, self._read_again)
                    return False
                continue
            self._backoff.succeeded()
            self.serve_accepted(accepted, name)
            work.spend(ACCEPT)
        return True

    @property
    def own_name(self) -> Any:
        """The address of the socket as connect(2) needs it; it may be a wildcard."""
        return self.socket.getsockname()

    def peer(self, name: Any) -> tuple[bytes, SocketAddress]:
        """The host by which the gate counts a peer, and its address; `name` is the address from accept."""
        raise NotImplementedError

    def local(self, accepted: socket.socket) -> SocketAddress:
        """The address that a peer has connected to. Raises OSError if the connection is closed already."""
        raise NotImplementedError

    def facts(self, accepted: socket.socket, remote: SocketAddress) -> Facts:
        """The facts of a new connection. Raises OSError if it is closed already."""
        return Facts(self.local(accepted), remote)

    def connection(self, accepted: socket.socket, facts: Facts, receiver: Receiver) -> StreamSocket:
        """The lowest level of a connection."""
        return StreamSocket(self.watcher(), accepted, facts, receiver, self.factory.clock, self._retry)

    def watcher(self) -> Watcher:
        """The watcher of a new connection."""
        return self._poller if self._poller.open() else self._reactor_watcher

    def serve_accepted(self, accepted: socket.socket, name: Any) -> None:
        """Serve or refuse an accepted connection; `name` is the address of its peer."""
        host, remote = self.peer(name)
        receiver = self.factory.receiver_for(host, remote)
        if receiver is None:
            refuse(accepted)
        else:
            self._connect(accepted, remote, receiver)

    def take_over(
        self,
        descriptor: int,
        host: bytes,
        bytes_in: int,
        bytes_out: int,
        waiting: bytes,
        facts: Facts | None = None,
        layer: Layer | None = None,
        pending: int = 0,
    ) -> bool:
        """Continue a connection of the fast path with its byte counts; `waiting` is its unsent output.

        `facts` are those of a connection that a layer has handed over to the fast path. `layer` is the one between its
        socket and its conversation, and has `pending` bytes of its output. Returns whether the connection is open.
        """
        accepted = socket.socket(fileno=descriptor)
        try:
            remote = self.peer(accepted.getpeername())[1]
        except OSError:  # the peer has just reset it
            accepted.close()
            self.factory.ended(host, Closing.LOST, bytes_in, bytes_out, None)
            return False
        conversation = self.factory.converse(host)
        receiver: Receiver = conversation
        if layer is not None:
            layer.build, receiver = lambda: conversation, layer
        if not self._connect(accepted, remote, receiver, facts):
            return False
        conversation.resume_from_fastpath(bytes_in, bytes_out, waiting, pending)
        return True

    def _connect(
        self, accepted: socket.socket, remote: SocketAddress, receiver: Receiver, facts: Facts | None = None
    ) -> bool:
        try:
            accepted.setblocking(False)
            facts = facts or self.facts(accepted, remote)
            if self.factory.injects:
                facts.kernel = KernelSocket(accepted)
        except OSError as error:
            accepted.close()
            receiver.lost(ConnectionFailed(error))
            return False
        self.connection(accepted, facts, receiver).start()
        return True

    def shed(self) -> int:
        """Refuse waiting clients while a descriptor is free. Returns how many."""
        shed = 0
        try:
            while shed < self.factory.limits.connections:
                accepted, _ = accept(self.socket)
                refuse(accepted)
                self.factory.counters.refuse(Refusal.ACCEPT)
                shed += 1
        except OSError:
            pass
        return shed

    def _read_again(self) -> None:
        self._resume = None
        if self._full_backlog is None or not self._full_backlog.full:
            self.startReading()

    def _tell(self, event: str, **fields: object) -> None:
        self.factory.events.tell(event, service=self.factory.name, **fields)

    def connectionLost(self, reason: object) -> None:
        """Stop, because the reactor ends or the socket failed."""
        self.stopListening()

    def logPrefix(self) -> str:
        """The name in Twisted's own messages."""
        return self.factory.label


def accept_backlog(accept_turn: Callable[[], bool]) -> None:
    """Accept the clients in the listen queue before a listener closes: for them the connection is open already."""
    for _ in range(BACKLOG // A_TURN):
        if not accept_turn():
            break


def refuse(accepted: socket.socket) -> None:
    """Reset a connection that is not served, so that the client is informed immediately."""
    try:
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    except OSError:
        pass
    accepted.close()
