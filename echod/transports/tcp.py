"""TCP: listening and connecting."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.protocol import ClientFactory
from twisted.internet.tcp import Client, Connector
from zope.interface import implementer

from echod.address import BACKLOG, Address
from echod.gate.access import packed_address
from echod.socket_names import SocketAddress, inet_name
from echod.transports.connection_failed import ConnectionFailed
from echod.transports.layers.layer_interface import Receiver
from echod.transports.lookup import NameResolver
from echod.transports.sockets import (
    IPPROTO_MPTCP,
    check_zone,
    inet_sockets,
    keep_alive,
    keep_urgent_inline,
    open_socket,
    prepare_client,
    refusing,
)
from echod.transports.stream_port import StreamPort
from echod.transports.transport import INET_FAMILIES, ConnectRequest, Stream
from echod.transports.twisted_connection import dial

VANISHED: Final = 60.0
"""Seconds that sent data may stay unacknowledged. Linux's own limit (tcp_retries2) is about 15 minutes."""
FAST_OPEN: Final = Path("/proc/sys/net/ipv4/tcp_fastopen")
FAST_OPEN_SERVER: Final = 2  #: bit of FAST_OPEN
TCP_FASTOPEN: Final = 23  # tcp(7)
TCP_FASTOPEN_CONNECT: Final = 30  # <linux/tcp.h>
IP_TRANSPARENT: Final = 19  # <linux/in.h>
LEEWAY: Final = 5.0  #: seconds added to `stall`, more than the interval of the sweep that closes stalled connections


def prepare(bound: socket.socket) -> None:
    """Set the options that connections inherit from their listener (tcp(7)). Raises OSError."""
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_alive(bound)
    with suppress(OSError):  # Multipath TCP has no urgent data, and no such option
        keep_urgent_inline(bound)
    grant(bound, 0)


def grant(bound: socket.socket, stall: float) -> None:
    """Let sent data stay unacknowledged for VANISHED seconds, or for LEEWAY longer than `stall` if that is longer.

    Linux applies the same limit to a peer that acknowledges probes but does not read. The sweep closes such a peer
    after `stall`, before Linux does, so that the right reason is counted. Linux also applies the limit to keepalive
    probes, in place of their number. Without the limit, an idle peer that disappears would be detected after two
    minutes even if `stall` is longer. A peer with unacknowledged data would be detected only after about 15 minutes.
    """
    with suppress(OSError):
        seconds = max(VANISHED, stall + LEEWAY)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def _only_address(listening: socket.socket) -> SocketAddress | None:
    """The local address of every connection of a listener, or None if connections can have different ones.

    A socket that is not bound to a wildcard address accepts connections to its own address, except with
    IP_TRANSPARENT (ip(7)).
    """
    name = listening.getsockname()
    if name[0] in ("0.0.0.0", "::") or listening.getsockopt(socket.SOL_IP, IP_TRANSPARENT):
        return None
    return inet_name(name)


def accepts_fast_open() -> bool:
    """Whether the kernel accepts data in the first packet of a connection, on listeners with the option."""
    try:
        return bool(int(FAST_OPEN.read_text()) & FAST_OPEN_SERVER)
    except (OSError, ValueError):
        return False


class TCPPort(StreamPort):
    """A listening TCP socket."""

    _address: SocketAddress | None = None  # of every connection, if the socket is bound to one address

    def startListening(self) -> None:
        """Serve from now on."""
        self._address = _only_address(self.socket)
        super().startListening()

    def peer(self, name: Any) -> tuple[bytes, SocketAddress]:
        """Host and address of a peer; the scope of a link-local peer is part of its address."""
        return packed_address(name[0]), inet_name(name)

    def local(self, accepted: socket.socket) -> SocketAddress:
        """The local address that the client connected to."""
        return self._address or inet_name(accepted.getsockname())


@implementer(IReactorPluggableNameResolver)
class _Dialling:
    """The reactor with another name resolver. It sets the options of the address on each socket before it connects."""

    def __init__(self, reactor: Any, address: Address, resolver: NameResolver) -> None:
        self.nameResolver: IHostnameResolver = resolver
        self._reactor = reactor
        self._address = address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """As IReactorPluggableNameResolver.installNameResolver."""
        before, self.nameResolver = self.nameResolver, resolver
        return before

    def connectTCP(
        self, host: str, port: int, factory: ClientFactory, timeout: float = 30, bindAddress: Any = None
    ) -> Connector:
        """As IReactorTCP.connectTCP."""
        connector = _MarkingConnector(host, port, factory, timeout, bindAddress, self._reactor)
        connector.address = self._address
        connector.connect()
        return connector


class _MarkingClient(Client):
    def doRead(self) -> Any:
        """As Connection.doRead, which does not return the error of the system."""
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError as error:
            return ConnectionFailed(error)
        return self._dataReceived(data)

    def createInternetSocket(self) -> socket.socket:
        address = self.connector.address
        opened = open_socket(address, self.addressFamily, self.socketType)
        try:
            opened.setblocking(False)
            prepare_client(opened, address)
            if address.options.get("fastopen"):
                with refusing(address, "fastopen"):
                    opened.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        except OSError:
            opened.close()
            raise
        return opened


class _MarkingConnector(Connector):
    address: Address

    def _makeTransport(self) -> Client:
        return _MarkingClient(self.host, self.port, self.bindAddress, self, self.reactor)


class TCP(Stream):
    """`tcp`: streams of any IP version."""

    scheme = "tcp"
    families = INET_FAMILIES
    port = TCPPort
    protocols = frozenset({socket.IPPROTO_TCP, IPPROTO_MPTCP})

    def prepare(self, bound: socket.socket) -> None:
        """As the function `prepare`."""
        prepare(bound)

    def set_stall(self, bound: socket.socket, stall: float) -> None:
        """As the function `grant`."""
        grant(bound, stall)

    def bind(self, _reactor: object, address: Address) -> Iterator[socket.socket]:
        """Yield sockets that listen on each address that `address` stands for. Raises OSError."""
        for bound in inet_sockets(address, socket.SOCK_STREAM):
            try:
                prepare(bound)
                backlog = int(address.options.get("backlog", BACKLOG))
                if address.options.get("fastopen"):
                    with refusing(address, "fastopen"):
                        bound.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, backlog)
                bound.listen(backlog)
            except BaseException:
                bound.close()
                raise
            yield bound

    def dial(self, request: ConnectRequest, build: Callable[[], Receiver]) -> Deferred[Any]:
        """Connect to the first address of a name that answers (RFC 8305).

        The Deferred fails with Twisted's ConnectError, or with OSError; the resolver's own is socket.gaierror.
        """
        reactor, address, timeout = request.reactor, request.address, request.timeout
        try:
            check_zone(address.host)
        except OSError as error:
            return fail(error)
        resolver = NameResolver(reactor, request.family)
        through = _Dialling(reactor, address, resolver)
        endpoint: Any
        if isIPAddress(address.host):
            endpoint = TCP4ClientEndpoint(through, address.host, address.port, int(timeout))
        elif isIPv6Address(address.host):
            endpoint = TCP6ClientEndpoint(through, address.host, address.port, int(timeout))
        else:
            endpoint = HostnameEndpoint(through, address.host, address.port, timeout=timeout)
        return dial(endpoint, build, reactor).addErrback(resolver.explain)


TRANSPORT: Final = TCP()
