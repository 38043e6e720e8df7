"""Stock Twisted's echo server as in its documentation, over TCP and UDP, and nothing more.

stock_twisted.py HOST PORT [idle SECONDS | log | ack | unix PATH MODE | adopt DESCRIPTOR]

With `idle` it closes idle connections by Twisted's TimeoutMixin, with `log` it logs each connection, with `ack` it
closes each after one word. With `unix` it also serves a path, and with `adopt` a Unix socket that it inherited.
"""

import socket
import sys
from typing import Any

from twisted.internet import protocol
from twisted.internet import reactor as installed
from twisted.protocols import policies
from twisted.python import log

reactor: Any = installed


class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)


class Timing(Echo, policies.TimeoutMixin):
    def connectionMade(self):
        self.setTimeout(float(sys.argv[4]))

    def dataReceived(self, data):
        self.resetTimeout()
        super().dataReceived(data)


class Logging(Echo):
    def connectionMade(self):
        log.msg(f"{self.transport.getHost()} from {self.transport.getPeer()}")

    def connectionLost(self, reason=protocol.connectionDone):
        log.msg(f"{self.transport.getHost()} from {self.transport.getPeer()} ended: {reason.getErrorMessage()}")


class Ack(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(b"received")
        self.transport.loseConnection()


class EchoUDP(protocol.DatagramProtocol):
    def datagramReceived(self, datagram, addr):
        self.transport.write(datagram, addr)


if __name__ == "__main__":
    log.startLogging(sys.stderr)
    host, port = sys.argv[1], int(sys.argv[2])
    factory = protocol.ServerFactory()
    mode = sys.argv[3] if sys.argv[3:] else ""
    factory.protocol = {"idle": Timing, "log": Logging, "ack": Ack}.get(mode, Echo)
    if mode == "unix":
        reactor.listenUNIX(sys.argv[4], factory, mode=int(sys.argv[5], 8))
    elif mode == "adopt":
        reactor.adoptStreamPort(int(sys.argv[4]), socket.AF_UNIX, factory)
    reactor.listenTCP(port, factory, interface=host)
    reactor.listenUDP(port, EchoUDP(), interface=host)
    reactor.run()
