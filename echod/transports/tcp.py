"""TCP: listening and dialling."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IHostnameResolver, IReactorFDSet, IReactorPluggableNameResolver
from twisted.internet.protocol import ClientFactory
from twisted.internet.tcp import Client, Connector
from zope.interface import implementer

from echod.address import BACKLOG, Address
from echod.gate.access import packed_address
from echod.names import SocketAddress, inet_name
from echod.transports.layers.stack import Receiver
from echod.transports.lookup import NameResolver
from echod.transports.service_factory import ServiceFactory
from echod.transports.sockets import inet_sockets, keep_urgent_inline, mark
from echod.transports.stream_port import Reserve, StreamPort
from echod.transports.transport import INET_FAMILIES, Stream
from echod.transports.twisted_socket import dial

KEEPALIVE: Final = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
"""Seconds of silence before the kernel asks whether the peer is there, between questions, and how many: a peer that
vanished while nothing was under way is gone after two minutes, and not after Linux's two hours. The number holds only
where there is no TCP_USER_TIMEOUT: with one, Linux asks until that is over (tcp(7))."""
VANISHED: Final = 60.0
"""Seconds that what was sent may go unacknowledged: Linux's own limit (tcp_retries2) is about 15 minutes."""
IPPROTO_MPTCP: Final = 262  # <linux/in.h>
LEEWAY: Final = 5.0  #: seconds behind `stall`: more than the sweep takes to look


def prepare(bound: socket.socket) -> None:
    """Set what each connection inherits from its listener (tcp(7)). Raises OSError."""
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with suppress(OSError):  # Multipath TCP has no urgent data, and no such option
        keep_urgent_inline(bound)
    for option, seconds in KEEPALIVE.items():
        with suppress(OSError):  # a Multipath TCP socket knows some of them only
            bound.setsockopt(socket.IPPROTO_TCP, option, seconds)
    grant(bound, 0)


def grant(bound: socket.socket, stall: float) -> None:
    """Let what was sent go unacknowledged for VANISHED, and for more than `stall` in any case.

    Linux ends a peer that answers but takes nothing by the same limit: that is `stall`, and is counted as such. And
    it takes this for the patience with a peer that vanished while nothing was under way. Without it that one would
    go sooner where `stall` is long, but who is owed something only after those 15 minutes.
    """
    with suppress(OSError):
        seconds = max(VANISHED, stall + LEEWAY)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


class TCPPort(StreamPort):
    """A listening TCP socket."""

    def peer(self, name: Any) -> tuple[bytes, SocketAddress]:
        """The scope of a link-local peer belongs to its address: accept reports it by itself."""
        return packed_address(name[0]), inet_name(name)

    def local(self, accepted: socket.socket) -> SocketAddress:
        """As the client called it."""
        return inet_name(accepted.getsockname())


@implementer(IReactorPluggableNameResolver)
class _Dialling:
    """The reactor, with a resolver of its own, and with the address's options set on each socket before it connects."""

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
    def createInternetSocket(self) -> socket.socket:
        opened: socket.socket = super().createInternetSocket()
        try:
            mark(opened, self.connector.address)
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
    protocols = frozenset({socket.IPPROTO_TCP, IPPROTO_MPTCP})

    def prepare(self, bound: socket.socket) -> None:
        """As the function of this name."""
        prepare(bound)

    def set_stall(self, bound: socket.socket, stall: float) -> None:
        """As `grant`."""
        grant(bound, stall)

    def bind(self, _reactor: object, address: Address) -> Iterator[socket.socket]:
        """Sockets that listen on every place the address means. Raises OSError."""
        for bound in inet_sockets(address, socket.SOCK_STREAM):
            try:
                prepare(bound)
                bound.listen(int(address.options.get("backlog", BACKLOG)))
            except BaseException:
                bound.close()
                raise
            yield bound

    def listen(
        self,
        reactor: IReactorFDSet,
        bound: socket.socket,
        _address: Address,
        factory: ServiceFactory,
        reserve: Reserve,
        close: Callable[[], None],
    ) -> StreamPort:
        """The port that serves a listening socket, once it is told to startListening, and calls `close` at the end."""
        return TCPPort(reactor, bound, factory, reserve, close)

    def dial(
        self,
        reactor: Any,
        address: Address,
        build: Callable[[], Receiver],
        timeout: float,
        family: int = socket.AF_UNSPEC,
    ) -> Deferred[Any]:
        """Connect to a name's addresses, whichever answers first (RFC 8305); `timeout` is seconds for each.

        The Deferred fails with Twisted's ConnectError, or with socket.gaierror.
        """
        resolver = NameResolver(reactor, family)
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
