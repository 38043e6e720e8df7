"""The interface of a transport, between the modules of the registry and the two programs.

A module of the registry has one `TRANSPORT`, an instance of the class of its shape. The classes differ in the port
that serves a listening socket, and in the connection of a client. Several schemes may use one module, with
different layers above its sockets. The shape of an address is that of its scheme: a layer can turn a stream into
messages.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from twisted.internet.defer import Deferred

from echod.address import BACKLOG, Address
from echod.model import Peer, Say, Session
from echod.shape import Shape
from echod.transports.registry import EVERY_FORM

if TYPE_CHECKING:
    from echod.transports.accept_backoff import SpareDescriptor
    from echod.transports.datagram import ServiceDatagrams
    from echod.transports.datagram_client import DatagramDialogue
    from echod.transports.layers.layer_interface import MakeLayer, Receiver
    from echod.transports.service_factory import ServiceFactory
from echod.transports.stream_port import StreamPort


class BoundSocket(Protocol):
    """The items that `bind` yields: sockets, or objects in place of ports that Twisted has opened."""

    def getsockname(self) -> Any:
        """The name of the socket, as `socket.getsockname` returns it."""

    def close(self) -> None:
        """Close it."""


class ListeningPort(Protocol):
    """Serves one bound socket."""

    def startListening(self) -> None:
        """Serve from now on."""

    def stopListening(self) -> None:
        """Serve the clients in the listen queue, then close the socket."""

    def release(self) -> None:
        """Stop serving, and leave the socket open for another port."""


@dataclass(frozen=True)
class ConnectRequest:
    """The target of a client's connection, and its options."""

    reactor: Any
    address: Address
    timeout: float  #: seconds, for each address of a name; datagrams and Unix sockets do not wait
    family: int = socket.AF_UNSPEC  #: restricts the addresses of a name


INET_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6})


class Transport(ABC):
    """One scheme of the registry.

    `families`, `kind` and `protocols` define its sockets. They also identify sockets that another process has opened.
    """

    scheme: ClassVar[str]
    shape: ClassVar[Shape]
    kind: ClassVar[socket.SocketKind]
    families: ClassVar[frozenset[socket.AddressFamily]] = frozenset()
    protocols: ClassVar[frozenset[int] | None] = None  #: None is any

    def recognises(self, opened: socket.socket) -> bool:
        """Whether an open socket is one of this transport."""
        fits = opened.family in self.families and opened.type is self.kind
        protocol = opened.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)  # `proto` is 0 if none was asked for
        return fits and (self.protocols is None or protocol in self.protocols)

    def prepare(self, bound: socket.socket) -> None:  # noqa: B027 - most sockets need nothing
        """Set what echod needs on a socket that another process has opened. Raises OSError."""

    @abstractmethod
    def bind(self, reactor: Any, address: Address) -> Iterator[Any]:
        """Bind each socket that an address stands for; a socket with connections listens. Raises OSError."""

    def set_stall(self, bound: Any, stall: float) -> None:  # noqa: B027 - most kernels' sockets have no such limit
        """Let the kernel keep a peer that acknowledges nothing for at least `stall` seconds."""


class Connections(Transport):
    """A transport of connections. `port` serves a listening socket."""

    port: ClassVar[type[StreamPort]]

    def listen(
        self,
        reactor: Any,
        bound: Any,
        address: Address,
        factory: ServiceFactory,
        reserve: SpareDescriptor,
        close: Callable[[], None],
    ) -> ListeningPort:
        """The port that serves a listening socket after `startListening`; it calls `close` at the end."""
        port = self.port(reactor, bound, factory, reserve, close)
        port.backlog = int(address.options.get("backlog", BACKLOG))
        return port

    @abstractmethod
    def dial(self, request: ConnectRequest, build: Callable[[], Receiver]) -> Deferred[Any]:
        """Connect, and begin the receiver that `build` makes.

        The Deferred fails with one of Twisted's errors, with socket.gaierror or with OSError.
        """


class Stream(Connections):
    """A transport of shape STREAM: connections of bytes. `finish` of each sends FIN."""

    shape = Shape.STREAM
    kind = socket.SOCK_STREAM


class Message(Connections):
    """A transport of shape MESSAGE: connections that keep messages. `finish` of each sends the end, as for a stream."""

    shape = Shape.MESSAGE
    kind = socket.SOCK_SEQPACKET


class Datagram(Transport):
    """A transport of shape DATAGRAM. Nothing is sent at the end of a session, because datagrams have no FIN."""

    shape = Shape.DATAGRAM
    kind = socket.SOCK_DGRAM

    @abstractmethod
    def listen(
        self, reactor: Any, bound: Any, address: Address, protocol: ServiceDatagrams, close: Callable[[], None]
    ) -> ListeningPort:
        """The port that serves a bound socket after `startListening`; it calls `close` at the end."""

    @abstractmethod
    def dial(
        self, request: ConnectRequest, begin: Callable[[Peer, Say], Session], over: Callable[[OSError | None], None]
    ) -> Deferred[DatagramDialogue]:
        """A session over connected sockets. The Deferred fails with OSError."""


@cache
def transport_of(scheme: str) -> Any:
    """The transport of a scheme that is available: a Stream, a Message or a Datagram. Imports its module."""
    return import_module(f"echod.transports.{EVERY_FORM[scheme].module}").TRANSPORT


def layer_of(name: str) -> MakeLayer:
    """The layer of a scheme that needs no settings: the `LAYER` of its module in `echod.transports.layers`."""
    made: MakeLayer = import_module(f"echod.transports.layers.{name}").LAYER
    return made


def every_transport() -> Mapping[str, Any]:
    """Every transport of this version, by its scheme. All are imported now, because a sandbox may forbid it later."""
    return MappingProxyType({scheme: transport_of(scheme) for scheme, form in EVERY_FORM.items() if form.available})
