"""Stock Twisted: Protocol and DatagramProtocol as in its documentation, on its default reactor.

stock_twisted.py HOST PORT [upper] [udp] [websocket] [proxy] [tls CERTIFICATE]
stock_twisted.py unix PATH [upper]

With `websocket`, the server of twisted.web.websocket, which needs the extra twisted[websocket]. With `proxy`, the
endpoint `haproxy:`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint, UNIXServerEndpoint, serverFromString
from twisted.internet.interfaces import IAddress, ITransport, IUDPTransport
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import react
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

if TYPE_CHECKING:
    from twisted.web.websocket import WebSocketTransport


class Echo(Protocol):
    transport: ITransport

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Upper(Protocol):
    transport: ITransport

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data.upper())


class EchoUDP(DatagramProtocol):
    transport: IUDPTransport

    def datagramReceived(self, datagram: bytes, address: tuple[str, int]) -> None:
        self.transport.write(datagram, address)


class EchoFactory(Factory):
    def __init__(self, protocol: type[Protocol]) -> None:
        self.answering = protocol
        self.noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self.answering()


class EchoWebSocket:
    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        self.transport = transport

    def negotiationFinished(self) -> None:
        pass

    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        self.transport.sendBytesMessage(bytes(data))

    def pongReceived(self, payload: bytes) -> None:
        pass

    def connectionLost(self, reason: Failure) -> None:
        pass

    @classmethod
    def buildProtocol(cls, request: Request) -> EchoWebSocket:
        return cls()


def web_socket_site() -> Site:
    from twisted.web.websocket import WebSocketResource  # it needs wsproto

    root = Resource()
    root.putChild(b"", WebSocketResource(EchoWebSocket))
    return Site(root)


async def serve(reactor: Any, host: str, port: str, *words: str) -> None:
    factory = EchoFactory(Upper if "upper" in words else Echo)
    if "websocket" in words:
        await TCP4ServerEndpoint(reactor, int(port), interface=host).listen(web_socket_site())
    elif "proxy" in words:
        await serverFromString(reactor, f"haproxy:tcp:{port}:interface={host}").listen(factory)
    elif "udp" in words:
        reactor.listenUDP(int(port), EchoUDP(), interface=host)
    elif "tls" in words:
        from twisted.internet.ssl import PrivateCertificate  # it needs pyOpenSSL

        with open(words[1], encoding="ascii") as file:
            options = PrivateCertificate.loadPEM(file.read()).options()
        await SSL4ServerEndpoint(reactor, int(port), options, interface=host).listen(factory)
    elif host == "unix":
        await UNIXServerEndpoint(reactor, port).listen(factory)
    else:
        await TCP4ServerEndpoint(reactor, int(port), interface=host).listen(factory)
    print("ready", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(serve(reactor, *sys.argv[1:])))
