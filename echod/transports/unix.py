"""Unix stream sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint

from echod.address import BACKLOG, Address
from echod.socket_names import SocketAddress, unix_name
from echod.transports.layers.layer_interface import Facts, Receiver
from echod.transports.peers import socket_facts
from echod.transports.sockets import keep_urgent_inline
from echod.transports.stream_port import StreamPort
from echod.transports.transport import Connections, ConnectRequest, Stream
from echod.transports.twisted_connection import dial
from echod.transports.unix_paths import unix_sockets


class UnixPort(StreamPort):
    """A listening Unix stream socket; `path` is its path in the form that system calls use.

    If a peer passes descriptors, the kernel closes them, because recv(2) does not receive them.
    """

    path = ""

    @property
    def own_name(self) -> Any:
        """As StreamPort: the path, because the kernel has only the temporary name of the bind."""
        return self.path or super().own_name

    def peer(self, name: Any) -> tuple[bytes, SocketAddress]:
        """Host and address of a peer. Most peers have no name, and the access lists do not apply to them."""
        return b"", unix_name(name)

    def local(self, accepted: socket.socket) -> SocketAddress:
        """The path that a client connected to. The kernel has only the temporary name of the bind (`paths`)."""
        return unix_name(self.path or accepted.getsockname())

    def facts(self, accepted: socket.socket, remote: SocketAddress) -> Facts:
        """The facts of a connection, with the peer's user and its groups."""
        keep_urgent_inline(accepted)
        return socket_facts(accepted, self.local(accepted), remote)


class UnixConnections(Connections):
    """A transport of connections over a Unix path."""

    families = frozenset({socket.AF_UNIX})

    def bind(self, _reactor: object, address: Address) -> Iterator[socket.socket]:
        """One socket that listens on the path. Raises OSError."""
        backlog = int(address.options.get("backlog", BACKLOG))
        return unix_sockets(address, self.kind, self.prepare, lambda opened: opened.listen(backlog))

    def listen(self, reactor: Any, bound: Any, address: Address, *rest: Any) -> UnixPort:
        """The port that serves a listening socket, as `Connections.listen`. It knows the path."""
        port = super().listen(reactor, bound, address, *rest)
        assert isinstance(port, UnixPort), "the port of every Unix transport of connections"
        if not address.path.startswith("@"):
            port.path = address.system_path
        return port


class Unix(UnixConnections, Stream):
    """`unix`: streams between processes of this machine."""

    scheme = "unix"
    port = UnixPort

    def dial(self, request: ConnectRequest, build: Callable[[], Receiver]) -> Deferred[Any]:
        """Connect to a path. The Deferred fails with Twisted's ConnectError."""
        path, timeout = request.address.system_path, int(request.timeout) or 1
        return dial(UNIXClientEndpoint(request.reactor, path, timeout=timeout), build, request.reactor)


TRANSPORT: Final = Unix()
