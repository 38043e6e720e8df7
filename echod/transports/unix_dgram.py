"""Unix datagram sockets. A client that has bound its socket receives replies."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorFDSet

from echod.address import Address
from echod.gate.refusal import Refusal
from echod.model import PLAIN, Peer, Say, Session
from echod.socket_names import UnixName, unix_name
from echod.transports.datagram import DatagramPort, ServiceDatagrams
from echod.transports.datagram_client import DatagramDialogue
from echod.transports.transport import ConnectRequest, Datagram
from echod.transports.unix_paths import unix_sockets

LARGEST: Final = 262_144
"""Bytes of the largest datagram: more than net.core.wmem_default lets a client send."""


class UnixDatagramPort(DatagramPort):
    """A bound Unix datagram socket."""

    largest = LARGEST
    ancillary = 0  # the kernel closes descriptors that a client passes

    def __init__(
        self,
        reactor: IReactorFDSet,
        bound: socket.socket,
        protocol: ServiceDatagrams,
        path: str,
        close: Callable[[], None],
    ) -> None:
        super().__init__(reactor, bound, protocol, close)
        self._local = UnixName(path)

    def serve(self, datagram: bytes, ancillary: list[tuple[int, int, bytes]], name: Any) -> None:
        """Serve one datagram. A client that has not bound its socket cannot receive the reply."""
        if not self.protocol.admits(datagram, b"", 0):
            return
        peer = Peer(self.protocol.scheme, self._local, unix_name(name))

        def send(data: bytes) -> OSError | None:
            return self.reach(data, [], name)

        if self.protocol.conversational:
            self.protocol.handle(datagram, peer, PLAIN, b"", name, send)
        else:
            self.protocol.serve(datagram, peer, PLAIN, b"", send, None if name else Refusal.NAMELESS)


class UnixDatagram(Datagram):
    """`unix-dgram`: datagrams between processes of this machine."""

    scheme = "unix-dgram"
    families = frozenset({socket.AF_UNIX})

    def bind(self, _reactor: object, address: Address) -> Iterator[socket.socket]:
        """One socket bound to the path. Raises OSError."""
        return unix_sockets(
            address, self.kind, lambda opened: opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
        )

    def listen(
        self,
        reactor: IReactorFDSet,
        bound: socket.socket,
        address: Address,
        protocol: ServiceDatagrams,
        close: Callable[[], None],
    ) -> UnixDatagramPort:
        """The port that serves a bound socket after `startListening`; it calls `close` at the end."""
        return UnixDatagramPort(reactor, bound, protocol, address.path, close)

    def dial(
        self, request: ConnectRequest, begin: Callable[[Peer, Say], Session], over: Callable[[OSError | None], None]
    ) -> Deferred[DatagramDialogue]:
        """A session over a socket with an abstract name from the kernel (unix(7), autobind). Fails with OSError."""
        scheme, targets = request.address.scheme, [(socket.AF_UNIX, request.address.system_path)]
        return execute(DatagramDialogue, request.reactor, scheme, targets, lambda opened: opened.bind(""), begin, over)


TRANSPORT: Final = UnixDatagram()
