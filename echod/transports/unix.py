"""Unix stream sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IProtocol, IReactorFDSet
from twisted.internet.protocol import Factory

from echod.address import BACKLOG, Address
from echod.transports.accept import Reserve, StreamPort
from echod.transports.paths import bind_path
from echod.transports.sending import StreamTransport
from echod.transports.sockets import keep_urgent_inline
from echod.transports.stream import ServiceFactory
from echod.transports.transport import Stream


class UnixTransport(StreamTransport):
    """Bytes only: the kernel closes descriptors that a peer sends along, because recv does not accept them."""

    def __init__(self, opened: socket.socket, *rest: Any) -> None:
        keep_urgent_inline(opened)
        super().__init__(opened, *rest)

    def getHost(self) -> UNIXAddress:
        """The path that a client connected to: the kernel calls it by the name of the bind (`paths`)."""
        return UNIXAddress(self.server.path or self.socket.getsockname())

    def getPeer(self) -> UNIXAddress:
        """Most peers have no name."""
        name: Any = self.client[0]
        return UNIXAddress(name or None)


class UnixPort(StreamPort):
    """A listening Unix stream socket; `path` is where it stands in the file system, as system calls want it."""

    transport = UnixTransport
    path = ""

    def peer_address(self, name: Any) -> tuple[UNIXAddress, Any]:
        """As the transport calls it."""
        return UNIXAddress(name or None), (name, None)


class Unix(Stream):
    """`unix`: streams of this machine."""

    scheme = "unix"
    families = frozenset({socket.AF_UNIX})

    def bind(self, _reactor: object, address: Address) -> Iterator[socket.socket]:
        """One socket that listens on the path. Raises OSError."""
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bind_path(opened, address, lambda: opened.listen(int(address.options.get("backlog", BACKLOG))))
            opened.setblocking(False)
        except BaseException:
            opened.close()
            raise
        yield opened

    def listen(
        self,
        reactor: IReactorFDSet,
        bound: socket.socket,
        address: Address,
        factory: ServiceFactory,
        reserve: Reserve,
        close: Callable[[], None],
    ) -> StreamPort:
        """The port that serves a listening socket, once it is told to startListening, and calls `close` at the end."""
        port = UnixPort(reactor, bound, factory, reserve, close)
        if not address.path.startswith("@"):
            port.path = address.system_path
        return port

    def dial(self, reactor: Any, address: Address, factory: Factory, timeout: float) -> Deferred[IProtocol]:
        """Connect to a path; `timeout` is seconds. The Deferred fails with Twisted's ConnectError."""
        connected: Deferred[IProtocol] = UNIXClientEndpoint(
            reactor, address.system_path, timeout=int(timeout) or 1
        ).connect(factory)
        return connected


TRANSPORT: Final = Unix()
