"""The upper-case server with Twisted's reactor: it waits for all sockets, and calls a method for each event."""

import sys

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol


class Upper(Protocol):
    def dataReceived(self, data):
        self.transport.write(data.upper())


server = TCP4ServerEndpoint(reactor, int(sys.argv[1]), interface="127.0.0.1")
server.listen(Factory.forProtocol(Upper))
print("waiting for clients", file=sys.stderr)
reactor.run()
