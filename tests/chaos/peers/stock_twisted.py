"""Stock Twisted as its documentation writes an echo server, over TCP and UDP, and nothing more.

stock_twisted.py HOST PORT
"""

import sys

from twisted.internet import protocol, reactor
from twisted.python import log


class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)


class EchoUDP(protocol.DatagramProtocol):
    def datagramReceived(self, datagram, addr):
        self.transport.write(datagram, addr)


if __name__ == "__main__":
    log.startLogging(sys.stderr)
    host, port = sys.argv[1], int(sys.argv[2])
    factory = protocol.Factory()
    factory.protocol = Echo
    reactor.listenTCP(port, factory, interface=host)  # type: ignore[arg-type]
    reactor.listenUDP(port, EchoUDP(), interface=host)  # type: ignore[attr-defined]
    reactor.run()
