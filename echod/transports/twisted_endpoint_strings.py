"""Twisted endpoint strings as a stream transport, for listening and connecting."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory

from echod.address import Address
from echod.socket_names import scoped
from echod.transports import tcp
from echod.transports.layers.layer_interface import Receiver
from echod.transports.service_factory import ServiceFactory
from echod.transports.transport import ConnectRequest, Stream
from echod.transports.twisted_connection import dial


class _Later(Factory):
    """Stands in for the factory, which is made after all sockets are bound, before clients can connect."""

    noisy = False
    factory: ServiceFactory

    def buildProtocol(self, address: IAddress | None) -> Any:
        return self.factory.buildProtocol(address)


class Listening:
    """The listening port of an endpoint string, in place of a bound socket. Raises OSError."""

    def __init__(self, port: IListeningPort, later: _Later) -> None:
        self._port: Any = port
        self._later = later
        if opened := self._tcp():
            tcp.prepare(opened)

    def getsockname(self) -> tuple[str, int]:
        """Host and port, or the path and 0."""
        host = self._port.getHost()
        name = str(getattr(host, "host", getattr(host, "name", "")))
        return scoped(name, getattr(host, "scopeID", 0)), int(getattr(host, "port", 0))

    def serve(self, factory: ServiceFactory) -> None:
        """Pass new connections to `factory` from now on."""
        self._later.factory = factory

    def grant(self, stall: float) -> None:
        """Let new connections be stuck for `stall` seconds, as tcp.grant does. A reload may change it."""
        if opened := self._tcp():
            tcp.grant(opened, stall)

    def _tcp(self) -> socket.socket | None:
        opened: socket.socket | None = getattr(self._port, "socket", None)
        return opened if opened is not None and opened.family in (socket.AF_INET, socket.AF_INET6) else None

    def close(self) -> None:
        """Stop listening."""
        self._port.stopListening()


class EndpointPort:
    """Serves one factory on a listening endpoint."""

    def __init__(self, bound: Listening, factory: ServiceFactory) -> None:
        self._bound = bound
        self._factory = factory

    def startListening(self) -> None:
        """Serve from now on."""
        self._factory.doStart()
        self._bound.serve(self._factory)

    def stopListening(self) -> None:
        """Close the listening port; open connections continue."""
        self._bound.close()
        self._factory.doStop()

    def release(self) -> None:
        """Leave the endpoint to another factory. Until that serves, the old factory serves new connections."""
        self._factory.doStop()


def unknown(text: str, *, client: bool = False) -> str | None:
    """A message about an endpoint string that Twisted cannot parse; None for a valid one.

    A `systemd:` string is accepted as it is: only the process that receives the descriptors can check it.
    """
    try:
        made = text if text.startswith("systemd:") else (clientFromString if client else serverFromString)(None, text)
    except Exception:  # each endpoint's parser has its own
        made = None
    if made is None or not 0 <= int(getattr(made, "_port", 0)) <= 65535:
        return "not a valid Twisted endpoint; expected an address such as tcp://127.0.0.1:10007"
    return None


class Endpoint(Stream):
    """An endpoint string, as a stream."""

    scheme = "endpoint"

    def bind(self, reactor: Any, address: Address) -> Iterator[Listening]:
        """Listen immediately, and serve later. Raises OSError if the endpoint cannot listen, or is not valid."""
        later = _Later()
        outcome: list[Any] = []
        try:
            listening: Deferred[IListeningPort] = serverFromString(reactor, address.path).listen(later)
        except Exception as error:
            passed = "no such descriptor was passed; write systemd:NAME, the FileDescriptorName= of its unit"
            raise OSError(None, unknown(address.path) or passed) from error
        listening.addBoth(outcome.append)
        if not outcome:
            listening.cancel()
            raise OSError(None, "the endpoint did not start to listen immediately")
        if not IListeningPort.providedBy(outcome[0]):
            failed = outcome[0].value
            if isinstance(failed, CannotListenError) and isinstance(failed.socketError, OSError):
                raise failed.socketError
            raise OSError(None, outcome[0].getErrorMessage())
        yield Listening(outcome[0], later)

    def listen(
        self,
        _reactor: Any,
        bound: Listening,
        _address: Address,
        factory: ServiceFactory,
        _reserve: object,
        _close: object,
    ) -> EndpointPort:
        """The port that serves `factory` on a port from `bind`, after `startListening`."""
        return EndpointPort(bound, factory)

    def set_stall(self, bound: Listening, stall: float) -> None:
        """Set the limit of TCP, if the endpoint listens on TCP."""
        bound.grant(stall)

    def dial(self, request: ConnectRequest, build: Callable[[], Receiver]) -> Deferred[Any]:
        """Connect to the endpoint string, with the timeout in it. Raises ValueError for a string that is not valid."""
        return dial(clientFromString(request.reactor, request.address.path), build, request.reactor)


TRANSPORT: Final = Endpoint()
