"""Stock Twisted's chat server, as in its documentation: the first line is a nick, the other lines go to all members.

stock_chat.py HOST PORT [ECHO-PORT]

With a third argument it serves its echo there, in the same process.
"""

import sys

from twisted.internet import protocol, reactor
from twisted.protocols import basic, wire
from twisted.python import log

members = {}


class Chat(basic.LineReceiver):
    delimiter = b"\n"
    name = ""

    def connectionLost(self, reason=protocol.connectionDone):
        members.pop(self.name, None)

    def lineReceived(self, line):
        if not self.name:
            self.name = line.decode("utf-8")
            members[self.name] = self
            log.msg(f"{self.name} has come")
            return
        said = f"<{self.name}> {line.decode('utf-8')}"
        log.msg(said)
        for member in members.values():
            if member is not self:
                member.sendLine(said.encode("utf-8"))


if __name__ == "__main__":
    log.startLogging(sys.stderr)
    factory = protocol.ServerFactory()
    factory.protocol = Chat
    reactor.listenTCP(int(sys.argv[2]), factory, interface=sys.argv[1])
    if len(sys.argv) > 3:
        echo = protocol.ServerFactory()
        echo.protocol = wire.Echo
        reactor.listenTCP(int(sys.argv[3]), echo, interface=sys.argv[1])
    reactor.run()
