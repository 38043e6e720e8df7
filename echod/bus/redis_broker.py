"""A broker over Redis or Valkey: publish and subscribe on one channel, over one connection.

The server keeps nothing: no key is read or written. It needs the permissions `+subscribe +publish` for the channel.
Nothing here waits for the server: every command is sent at once, and a reply that does not arrive ends the connection.
"""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.bus import broker_messages as wire
from echod.bus.broker_interface import BrokerClient
from echod.bus.resp import Decoder, ErrorReply, Push, WrongReply, command
from echod.escaping import clipped, escaped, system_error
from echod.gate.work_budget import WorkBudget

CONNECTED: Final = 5.0  #: seconds for a connection, with TLS
ADMITTED: Final = 5.0  #: seconds after that until the server has accepted HELLO and SUBSCRIBE
FINISHED: Final = 1.0  #: seconds for the last messages at a stop
FIRST: Final = 0.5  #: seconds until the first new attempt …
LONGEST: Final = 15.0  #: … which doubles with each failure up to this; the delay is random between half and all of it
QUEUED: Final = 8 << 20  #: bytes that wait to be sent: above this the server reads too slowly
SLACK: Final = 4096  #: bytes of a reply besides the message
SHOWN: Final = 200  #: characters of an error of the server that are logged
RECOGNISED: Final = 8  #: characters at the beginning of a password that are not logged, if the server has cut the rest

WITHOUT_NUMBER: Final[Mapping[type[Exception], int]] = {
    error.ConnectionAborted: errno.ECONNABORTED,
    error.TimeoutError: errno.ETIMEDOUT,
}
"""The errors of Twisted that have no number, if a call of the system has not given one."""

Connect = Callable[[Factory], Any]
"""Connects with a factory; returns a Deferred of the protocol. It must fail after CONNECTED seconds."""


class RedisBroker:
    """As Broker. `connect` opens a connection; `login` is a user and a password, or None; `name` is for the log.

    `work` is the work budget of this process.
    """

    def __init__(
        self,
        reactor: Any,
        connect: Connect,
        channel: str,
        login: tuple[str, str] | None,
        name: str,
        work: WorkBudget,
    ) -> None:
        self.reactor = reactor
        self.channel = channel.encode()
        self.login = login
        self.name = name
        self.work = work
        self.published = self.arrived = self.outages = 0
        self._connect = connect
        self._client: BrokerClient | None = None
        self._connection: RedisConnection | None = None
        self._attempt: Any = None  # the Deferred of a connection
        self._again: Any = None  # the call of the next attempt
        self._delay = FIRST
        self._reported = False  # the log has the failure already
        self._since = 0.0  # when the connection was admitted
        self.ended: Deferred[None] = Deferred()  #: fires when `stop` has sent everything, or after FINISHED seconds

    def start(self, client: BrokerClient) -> None:
        """As Broker."""
        self._client = client
        self._try()

    def publish(self, message: bytes) -> None:
        """As Broker."""
        if self._connection is not None:
            self.published += 1
            self._connection.publish(message)

    def drop(self, reason: str) -> None:
        """As Broker."""
        if (connection := self._connection) is not None:
            self._connection = None
            self.outages += 1
            connection.abort()
            self._later()

    def stop(self) -> None:
        """As Broker."""
        if self._client is None:
            return
        self._client = None
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._attempt is not None:
            self._attempt.cancel()
        if (connection := self._connection) is not None:
            self._connection = None
            connection.finish(self.ended)
        else:
            self.ended.callback(None)

    # for the connection

    def admitted(self, connection: RedisConnection) -> None:
        """The server sends messages of the channel from now on."""
        if self._client is None:
            connection.abort()
            return
        self._connection, self._since, self._reported = connection, self.reactor.seconds(), False
        self._client.say("info", f"the bus {self.name} is connected")
        self._client.opened()

    def received(self, message: bytes) -> int:
        """A message of the channel. Returns its cost."""
        self.arrived += 1
        return self._client.received(message) if self._client is not None else 1

    def lost(self, connection: RedisConnection, reason: str) -> None:
        """A connection has ended, admitted or not."""
        if self._client is None or (self._connection is not connection and self._connection is not None):
            return
        if self._connection is connection:
            self._connection = None
            self.outages += 1
            self._later()
            self._client.closed(f"the bus {self.name} is disconnected: {reason}")
        elif connection.is_current:
            self._fail(reason)

    def _try(self) -> None:
        self._again = None
        factory: Any = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda _address: RedisConnection(self)
        self._attempt = self._connect(factory)
        self._attempt.addCallbacks(self._connected, self._refused)

    def _connected(self, _protocol: object) -> None:
        self._attempt = None

    def _refused(self, failure: Failure) -> None:
        self._attempt = None
        if self._client is not None:
            self._fail(_reason(failure))

    def _fail(self, reason: str) -> None:
        if not self._reported and self._client is not None:
            self._reported = True
            self._client.say("warn", f"the bus {self.name} cannot be used: {reason}; trying again")
        self._later()

    def _later(self) -> None:
        if self._again is None and self._client is not None:
            if self._since and self.reactor.seconds() - self._since > LONGEST:
                self._delay = FIRST  # the last connection was a good one
            self._since = 0.0
            seconds = self._delay * random.uniform(0.5, 1.0)
            self._delay = min(2 * self._delay, LONGEST)
            self._again = self.reactor.callLater(seconds, self._try)


@implementer(IPushProducer)
class RedisConnection(Protocol):
    """One connection: HELLO with the login, SUBSCRIBE, then messages in both directions."""

    def __init__(self, broker: RedisBroker) -> None:
        self.is_current = True  #: False: the broker does not use it any more
        self._broker = broker
        self._decoder = Decoder(wire.LARGEST + SLACK)
        self._reason = ""
        self._admitted = False
        self._deadline: Any = None
        self._replies: Any = None  # decoded replies that wait for the work budget
        self._queued = 0  # bytes since the kernel has accepted everything
        self._congested = False
        self._ended: Deferred[None] | None = None

    def connectionMade(self) -> None:
        """Log in, and subscribe."""
        transport: Any = self.transport
        transport.registerProducer(self, True)
        login = self._broker.login
        words = (b"AUTH", login[0].encode(), login[1].encode()) if login is not None else ()
        self._deadline = self._broker.reactor.callLater(ADMITTED, self._fail, "no reply to the login")
        transport.write(command(b"HELLO", b"3", *words) + command(b"SUBSCRIBE", self._broker.channel))

    def publish(self, message: bytes) -> None:
        """Send a message."""
        transport: Any = self.transport
        data = command(b"PUBLISH", self._broker.channel, message)
        transport.write(data)
        if self._congested:
            self._queued += len(data)
            if self._queued > QUEUED:
                self._fail("it reads too slowly")

    def abort(self) -> None:
        """Close it now, without a callback."""
        self.is_current = False
        self._end()

    def finish(self, ended: Deferred[None]) -> None:
        """Close it when everything is sent, or after FINISHED seconds; `ended` fires then."""
        self.is_current = False
        self._ended = ended
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()
        self._deadline = self._broker.reactor.callLater(FINISHED, transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        """Process the replies, within the work budget."""
        try:
            self._decoder.add(data)
        except WrongReply as error:
            self._fail(str(error))
            return
        self._process()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is closed."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._broker.work.cancel(self._process)
        if self.is_current:
            self._broker.lost(self, self._reason or _reason(reason))
        self.is_current = False
        if self._ended is not None:
            self._ended.callback(None)

    def pauseProducing(self) -> None:
        """As IPushProducer: the server reads slowly."""
        self._congested = True

    def resumeProducing(self) -> None:
        """As IPushProducer: everything is sent."""
        self._congested, self._queued = False, 0

    def stopProducing(self) -> None:
        """As IPushProducer."""

    def _process(self) -> None:
        transport: Any = self.transport
        work = self._broker.work
        try:
            for reply in self._decoder.replies():
                if not self.is_current or self._reason:
                    return
                work.spend(self._reply(reply))
                if work.is_used_up:
                    transport.pauseProducing()
                    work.wait(self._go_on)
                    return
        except WrongReply as error:
            self._fail(str(error))

    def _go_on(self) -> None:
        transport: Any = self.transport
        if self.is_current:
            transport.resumeProducing()
            self._process()

    def _reply(self, reply: Any) -> int:
        """Process one reply. Returns its cost."""
        if isinstance(reply, ErrorReply):
            login = self._broker.login
            text = str(reply) if login is None else _without(login[1], str(reply))
            self._fail(f"the server refuses it: {clipped(text, SHOWN)}")
        elif isinstance(reply, Push) and len(reply) == 3:
            if reply[0] == b"message" and isinstance(reply[2], bytes):
                return self._broker.received(reply[2])
            if reply[0] == b"subscribe" and not self._admitted:
                self._admitted = True
                self._deadline.cancel()
                self._broker.admitted(self)
        return 1

    def _fail(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._end()

    def _end(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()


def _without(password: str, text: str) -> str:
    """An error without the password. A server that does not know HELLO repeats its arguments, and cuts long ones."""
    for size in range(len(password), max(min(len(password), RECOGNISED) - 1, 0), -1):
        text = text.replace(password[:size], "***")
    return text


def _reason(failure: Failure) -> str:
    """Why a connection has ended, or could not be made, in the words of the system: Twisted's texts reach no log."""
    if failure.check(error.ConnectionDone):
        return "the server has closed the connection"
    if failure.type is error.ConnectionLost:  # of a read that failed: the reactor keeps no errno
        return "the connection was reset, or the server did not respond"
    number = getattr(failure.value, "osError", None)
    if isinstance(number, int):
        return system_error(OSError(number, os.strerror(number)))
    for kind, code in WITHOUT_NUMBER.items():
        if failure.check(kind):
            return system_error(OSError(code, os.strerror(code)))
    if failure.check(error.DNSLookupError):
        return system_error(socket.gaierror(socket.EAI_NONAME, ""))
    if isinstance(failure.value, OSError):
        return system_error(failure.value)
    return escaped(failure.getErrorMessage().rstrip("."))
