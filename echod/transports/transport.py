"""What a transport is: the interface between the modules of the registry and the two programs.

A module of the registry has one `TRANSPORT`, an instance of the class of its shape. The classes differ in what serves
a listening socket, and in what a client holds.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from twisted.internet.defer import Deferred

from echod.address import Address
from echod.model import Peer, Say, Session
from echod.shape import Shape
from echod.transports.registry import EVERY_FORM

if TYPE_CHECKING:
    from echod.transports.datagram import ServiceDatagrams
    from echod.transports.dialled import DatagramDialogue
    from echod.transports.layers.stack import Receiver
    from echod.transports.service_factory import ServiceFactory
    from echod.transports.stream_port import Reserve


class BoundSocket(Protocol):
    """What `bind` returns: a socket, or an object that stands for one that Twisted has opened."""

    def getsockname(self) -> Any:
        """The name of the socket, as `socket.getsockname` returns it."""

    def close(self) -> None:
        """Close it."""


class ListeningPort(Protocol):
    """What serves one bound socket."""

    def startListening(self) -> None:
        """Serve from now on."""

    def stopListening(self) -> None:
        """Serve what waits in the listen queue, then close the socket."""

    def release(self) -> None:
        """Stop serving, and leave the socket open for another port."""


INET_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6})


class Transport(ABC):
    """One scheme of the registry.

    `families`, `kind` and `protocols` tell which sockets are its own: also those that another process has opened.
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
        """Bind every socket that an address means; a socket with connections listens. Raises OSError."""

    def set_stall(self, bound: Any, stall: float) -> None:  # noqa: B027 - most kernels' sockets have no such limit
        """Let the kernel keep a peer that acknowledges nothing for at least `stall` seconds."""


class Connections(Transport):
    """A transport of connections."""

    @abstractmethod
    def listen(
        self,
        reactor: Any,
        bound: Any,
        address: Address,
        factory: ServiceFactory,
        reserve: Reserve,
        close: Callable[[], None],
    ) -> Any:
        """The port that serves a listening socket after `startListening`; it calls `close` at the end."""

    @abstractmethod
    def dial(
        self,
        reactor: Any,
        address: Address,
        build: Callable[[], Receiver],
        timeout: float,
        family: int = socket.AF_UNSPEC,
    ) -> Deferred[Any]:
        """Connect, and begin what `build` makes.

        `timeout` is seconds for each address, and `family` the only one to try of a name's. The Deferred fails with
        one of Twisted's errors, with socket.gaierror or with OSError.
        """


class Stream(Connections):
    """A transport of shape STREAM: connections of bytes. `finish` of each sends FIN."""

    shape = Shape.STREAM
    kind = socket.SOCK_STREAM


class Message(Connections):
    """A transport of shape MESSAGE: connections that keep messages. `finish` of each ends sending, as of a stream."""

    shape = Shape.MESSAGE
    kind = socket.SOCK_SEQPACKET


class Datagram(Transport):
    """A transport of shape DATAGRAM. Nothing is sent at an end: a peer has none to receive."""

    shape = Shape.DATAGRAM
    kind = socket.SOCK_DGRAM

    @abstractmethod
    def listen(
        self, reactor: Any, bound: Any, address: Address, protocol: ServiceDatagrams, close: Callable[[], None]
    ) -> Any:
        """The port that serves a bound socket after `startListening`; it calls `close` at the end."""

    @abstractmethod
    def dial(
        self,
        reactor: Any,
        address: Address,
        begin: Callable[[Peer, Say], Session],
        over: Callable[[OSError | None], None],
        family: int = socket.AF_UNSPEC,
    ) -> Deferred[DatagramDialogue]:
        """A session over connected sockets; `family` is the only one to try of a name's addresses.

        The Deferred fails with OSError.
        """


@cache
def transport_of(scheme: str) -> Any:
    """The transport of a scheme that is available: a Stream, a Message or a Datagram. Imports its module."""
    return import_module(f"echod.transports.{EVERY_FORM[scheme].module}").TRANSPORT


def every_transport() -> Mapping[str, Any]:
    """Every transport that this version has, by its scheme: imported at once, before a sandbox may forbid it."""
    return MappingProxyType({scheme: transport_of(scheme) for scheme, form in EVERY_FORM.items() if form.available})
