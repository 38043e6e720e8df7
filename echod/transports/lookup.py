"""Host names looked up for a client, in daemon threads that end with the process.

Twisted's own resolver uses the reactor's thread pool, and the reactor waits for that pool when it stops. If a name
server does not answer, the system's resolver retries, often for 10 to 30 seconds. Every interrupt would be delayed by
as much.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.socket_names import scoped
from echod.transports.sockets import check_zone

Target = tuple[int, Any]  #: the family of a socket, and the address to connect it to

KINDS: Final = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


def look_up(
    reactor: Any, host: str, port: int, kind: socket.SocketKind, family: int = socket.AF_UNSPEC
) -> Deferred[list[Target]]:
    """Every address of a host, in the order in which to try them (RFC 6724).

    `family` restricts them to IPv4 or IPv6. The Deferred fails with OSError, which includes the resolver's own
    socket.gaierror.
    """
    try:
        check_zone(host)
        return succeed(_ask(host, port, kind, family, socket.AI_NUMERICHOST))
    except socket.gaierror:
        pass  # it is a name
    except OSError as error:
        return fail(error)
    found: Deferred[list[Target]] = Deferred()

    def ask() -> None:
        try:
            targets = _ask(host, port, kind, family)
        except Exception:
            reactor.callFromThread(found.errback, Failure())
        else:
            reactor.callFromThread(found.callback, targets)

    try:
        threading.Thread(target=ask, name="look-up", daemon=True).start()
    except RuntimeError:  # the system cannot start another thread
        return fail(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
    return found


def _ask(host: str, port: int, kind: socket.SocketKind, family: int, flags: int = 0) -> list[Target]:
    return [(one, target) for one, _, _, _, target in socket.getaddrinfo(host, port, family, kind, flags=flags)]


@implementer(IHostnameResolver)
class NameResolver:
    """`look_up` for Twisted's endpoints. `failure` is the last error, which the endpoints do not keep."""

    def __init__(self, reactor: Any, family: int = socket.AF_UNSPEC) -> None:
        self.failure: Exception | None = None
        self._reactor = reactor
        self._family = family

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """As IHostnameResolver.resolveHostName."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)

        def found(targets: list[Target]) -> None:
            for _, target in targets:
                address = _twisted_address(transportSemantics, target)
                if addressTypes is None or isinstance(address, tuple(addressTypes)):
                    resolutionReceiver.addressResolved(address)

        def failed(failure: Failure) -> None:
            self.failure = failure.value if isinstance(failure.value, Exception) else None

        looking = look_up(self._reactor, hostName, portNumber, KINDS[transportSemantics], self._family)
        looking.addCallbacks(found, failed)
        looking.addCallback(lambda _: resolutionReceiver.resolutionComplete())
        return resolution

    def explain(self, failure: Failure) -> Failure:
        """The failure of an endpoint. If a look-up failed, it has the resolver's own error."""
        if self.failure is not None and failure.check(DNSLookupError):
            return Failure(self.failure)
        return failure


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Do nothing: the thread cannot be stopped, and its result is ignored."""


def _twisted_address(protocol: str, target: Any) -> IPv4Address | IPv6Address:
    host, port, *rest = target
    kind: Any = protocol
    if not rest:
        return IPv4Address(kind, host, port)
    flow, scope = rest
    return IPv6Address(kind, scoped(host, scope), port, flow, scope)
