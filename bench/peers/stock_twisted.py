"""Stock Twisted: Protocol and DatagramProtocol as in its documentation, on its default reactor.

stock_twisted.py HOST PORT [upper] [udp]        stock_twisted.py unix PATH [upper]
"""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.interfaces import IAddress, ITransport, IUDPTransport
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import react


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


async def serve(reactor: object, host: str, port: str, *words: str) -> None:
    factory = EchoFactory(Upper if "upper" in words else Echo)
    if "udp" in words:
        reactor.listenUDP(int(port), EchoUDP(), interface=host)  # type: ignore[attr-defined]
    elif host == "unix":
        await UNIXServerEndpoint(reactor, port).listen(factory)
    else:
        await TCP4ServerEndpoint(reactor, int(port), interface=host).listen(factory)
    print("ready", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(serve(reactor, *sys.argv[1:])))
