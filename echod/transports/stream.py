"""The one conversation over a stream: it performs Replies, with backpressure, half-close and time limits.

`ServiceFactory` makes a conversation of every connection, in any Twisted program:

    endpoint.listen(ServiceFactory(Upper()))

Rules that everything here keeps:

* Reading pauses while more than `limits.buffer` octets wait to be sent: a peer that never reads is stopped.
* The peer's half-close does not end our answer: everything goes out, then we close.
* When we end first, we shut down writing and read what still comes, for a close with unread input would be a
  reset, and the answer could be lost on the way (RFC 1122 4.2.2.13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.address import SocketAddress, inet, unix_name
from echod.events import Closing, Events, Tally
from echod.gate.access import octets_of
from echod.gate.connections import ConnectionGate
from echod.gate.limits import Limits
from echod.model import CLOSE, End, Peer, Reply, Say, Service, Session

LINGER: Final = 5.0
"""Seconds that a peer has to finish after we have: what Apache and nginx grant (lingering_timeout)."""
SILENCE: Final = 1.0
"""Seconds of silence after which a draining daemon says goodbye to a connection."""

_log = Logger()

Begin = Callable[[Peer, Say], Session]


def socket_address(address: IAddress) -> SocketAddress:
    """What we call the socket that Twisted calls `address`."""
    host = getattr(address, "host", None)
    if host is None:
        return unix_name(getattr(address, "name", None))
    return inet(host, address.port)  # type: ignore[attr-defined]  # IAddress has no members of its own


@implementer(IHalfCloseableProtocol, IPushProducer)
class Conversation(Protocol):
    """One connection and its session, of a server or a client.

    `begin` makes the session once the connection is there; `over` hears once, at the end, why it ended.
    """

    transport: Any  # Twisted's interfaces tell a part of it only

    def __init__(
        self,
        begin: Begin,
        scheme: str,
        limits: Limits,
        tally: Tally,
        over: Callable[[Conversation, Closing], None],
    ) -> None:
        self.peer: Peer
        self.bytes_in = 0
        self._begin = begin
        self._scheme = scheme
        self._limits = limits
        self._tally = tally
        self._over = over
        self._handed = 0  # octets given to the transport
        self._more: Iterator[bytes] | None = None
        self._end = End.NOTHING
        self._paused = False
        self._peer_ended = False
        self._finished = False  # everything of ours has gone, its end included
        self._lingering_since: float | None = None
        self._closing = Closing.DONE
        self._progress = -1  # octets in and out when `watch` looked last
        self._since = 0.0

    # Twisted's side

    def connectionMade(self) -> None:
        """Begin: the transport throttles us as the producer of its bytes, and we throttle what it reads."""
        transport = self.transport
        self.peer = Peer(self._scheme, socket_address(transport.getHost()), socket_address(transport.getPeer()))
        transport.bufferSize = self._limits.buffer
        transport.registerProducer(self, True)
        self.session = self._begin(self.peer, self.perform)
        self._ask(self.session.opened)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the peer; behind our own end they are dropped."""
        self.bytes_in += len(data)
        self._tally.bytes_in += len(data)
        if self._end is not End.CLOSE:
            self._ask(self.session.received, data)

    def readConnectionLost(self) -> None:
        """The peer has finished sending."""
        self._peer_ended = True
        if self._end is End.CLOSE:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        else:
            self._ask(self.session.ended)

    def writeConnectionLost(self) -> None:
        """Our own end has gone out."""
        self._finished = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end, whoever made it."""
        self._tally.bytes_out -= self.unsent
        if self._closing is Closing.DONE and not (reason.check(ConnectionDone) and self._said_everything()):
            self._closing = Closing.LOST
        self._more = None
        if hasattr(self, "session"):
            self.session.lost()
        self._over(self, self._closing)

    def pauseProducing(self) -> None:
        """More than `buffer` waits to be sent: stop reading, and stop asking for more."""
        self._paused = True
        if not self._peer_ended:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """All has been sent."""
        self._paused = False
        self._proceed()
        if not self._paused and not self._peer_ended:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is gone, and so is the reason for more."""
        self._more = None

    # our side

    @property
    def paused(self) -> bool:
        """Whether more than `buffer` waits to be sent."""
        return self._paused

    @property
    def unsent(self) -> int:
        """Octets handed to the transport that the kernel has not taken. FileDescriptor keeps them in two places."""
        transport = self.transport
        buffered = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
        return buffered + int(getattr(transport, "_tempDataLen", 0))

    def perform(self, reply: Reply) -> None:
        """Do what the session wants; behind an end nothing more is said."""
        if self._end is not End.NOTHING:
            if self._end is not End.HALF_CLOSE:
                return
            reply = Reply(end=reply.end)
        if reply.data:
            if self._more is None:
                self._write(reply.data)
            else:
                self._more = chain(self._more, (reply.data,))
        if reply.more is not None:
            self._more = reply.more if self._more is None else chain(self._more, reply.more)
        if reply.end is not End.NOTHING:
            self._end = reply.end
        if self._more is not None or reply.end is not End.NOTHING:
            self._proceed()

    def _ask(self, question: Callable[..., Reply], *given: bytes) -> None:
        try:
            reply = question(*given)
        except Exception:  # a bug of the service, and no reason to leave its peer waiting
            _log.failure("the service failed; the connection of {peer} is reset", peer=self.peer.remote)
            self.abort(Closing.FAILED)
        else:
            self.perform(reply)

    def _write(self, data: bytes) -> None:
        self._handed += len(data)
        self._tally.bytes_out += len(data)
        self.transport.write(data)

    def _proceed(self) -> None:
        """Hand out more as long as the peer takes it, and end once there is no more."""
        while self._more is not None and not self._paused:
            piece = next(self._more, None)
            if piece is None:
                self._more = None
            elif piece:
                self._write(piece)
        if self._end is End.RESET:
            self.transport.abortConnection()
        elif self._more is None and self._end is not End.NOTHING:
            self._finish()

    def _finish(self) -> None:
        """Everything is handed to the transport: end as `_end` says, after the last octet."""
        transport = self.transport
        transport.unregisterProducer()  # or the transport would wait for us, and never end
        if self._end is End.CLOSE and self._peer_ended:
            transport.loseConnection()
            return
        transport.loseWriteConnection()
        if self._paused and not self._peer_ended:
            self._paused = False
            transport.resumeProducing()

    def _said_everything(self) -> bool:
        return self._more is None and not self.unsent

    # time

    def watch(self, now: float) -> None:
        """Look whether something moved since the last look, and end what has been still for too long."""
        progress = self.bytes_in + self._handed - self.unsent
        if progress != self._progress:
            self._progress = progress
            self._since = now
        if self._finished and self._lingering_since is None:
            self._lingering_since = now
        still = now - self._since
        limits = self._limits
        if self._end is End.CLOSE and self._lingering_since is not None and now - self._lingering_since >= LINGER:
            self.abort(Closing.LINGER)
        elif self.unsent and limits.stall and still >= limits.stall:
            self.abort(Closing.STALL)
        elif limits.idle and still >= limits.idle:
            self._closing = Closing.IDLE
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def leave(self, now: float) -> None:
        """The daemon drains: say goodbye once the peer has been silent for SILENCE; endless talk ends at once."""
        if self._more is not None:
            self._more = None
            self.perform(CLOSE)
        elif self._end is End.NOTHING and not self.unsent and now - self._since >= SILENCE:
            self.perform(CLOSE)

    def abort(self, reason: Closing) -> None:
        """End at once, with RST."""
        self._closing = reason
        self.transport.abortConnection()


class ServiceFactory(Factory):
    """Serves one service to every connection that its gate admits.

    Without a gate everybody is admitted. `scheme` is what peers are shown as having come by; `loopback` says
    whether only this machine reaches the listener; `clock` runs the time limits (default: the reactor).
    """

    noisy = False

    def __init__(
        self,
        service: Service,
        *,
        gate: ConnectionGate | None = None,
        limits: Limits | None = None,
        tally: Tally | None = None,
        events: Events | None = None,
        name: str = "",
        place: str = "",
        scheme: str = "tcp",
        loopback: bool = False,
        clock: IReactorTime | None = None,
    ) -> None:
        self.service = service
        self.gate = gate
        self.limits = limits or (gate.limits if gate else Limits())
        self.tally = tally or Tally()
        self.events = events or Events()
        self.name = name or service.kind
        self.place = place
        self.scheme = scheme
        self.loopback = loopback
        self.conversations: dict[Conversation, bytes] = {}  # and the host that the gate knows it by
        self._sweep = LoopingCall(self._look)
        if clock is not None:
            self._sweep.clock = clock
        self._drained: Deferred[None] | None = None

    def startFactory(self) -> None:
        """Watch the time from now on."""
        limits = [limit for limit in (self.limits.idle, self.limits.stall) if limit]
        if not self._sweep.running:
            self._sweep.start(max(0.05, min([1.0, *(limit / 4 for limit in limits)])), now=False)

    def stopFactory(self) -> None:
        """No listener is left; time goes on for as long as there are connections."""
        if not self.conversations and self._sweep.running:
            self._sweep.stop()

    def buildProtocol(self, address: IAddress | None) -> Conversation | None:
        """A conversation for who connects from `address`, or None: refused, counted and told."""
        host = _host_octets(address)
        refusal = self.gate.admit(host, loopback=self.loopback) if self.gate else None
        if refusal:
            self.tally.refuse(refusal)
            if self.events.connections and address is not None:
                self._tell("connection.refused", socket_address(address), reason=str(refusal))
            return None
        conversation = Conversation(self._begin, self.scheme, self.limits, self.tally, self._over)
        conversation.factory = self
        self.conversations[conversation] = host
        self.tally.accepted += 1
        self.tally.open += 1
        return conversation

    def drain(self) -> Deferred[None]:
        """Let the conversations end; fires when the last one has. `abandon` makes it so."""
        self._drained = Deferred()
        if self.conversations:
            self._look()
            if self._sweep.running:
                self._sweep.stop()
            self._sweep.start(SILENCE / 4, now=False)
        else:
            self._drained.callback(None)
        return self._drained

    def abandon(self) -> None:
        """End what is left, at once."""
        for conversation in list(self.conversations):
            conversation.abort(Closing.DRAIN)

    def _begin(self, peer: Peer, say: Say) -> Session:
        if self.events.connections:
            self._tell("connection.opened", peer.remote)
        return self.service.session(peer, say)

    def _look(self) -> None:
        now = self._sweep.clock.seconds()
        for conversation in list(self.conversations):
            conversation.watch(now)
            if self._drained is not None:
                conversation.leave(now)

    def _over(self, conversation: Conversation, reason: Closing) -> None:
        host = self.conversations.pop(conversation)
        if self.gate:
            self.gate.release(host)
        self.tally.close(reason)
        if self.events.connections and hasattr(conversation, "peer"):
            out = conversation._handed - conversation.unsent
            self._tell(
                "connection.closed",
                conversation.peer.remote,
                reason=str(reason),
                bytes_in=conversation.bytes_in,
                bytes_out=out,
            )
        if not self.conversations:
            if self._drained is not None and not self._drained.called:
                self._drained.callback(None)
            if not self.numPorts and self._sweep.running:
                self._sweep.stop()

    def _tell(self, event: str, peer: SocketAddress, **fields: object) -> None:
        self.events.tell(event, service=self.name, address=self.place, peer=str(peer), **fields)


def _host_octets(address: IAddress | None) -> bytes:
    host = getattr(address, "host", None)
    return octets_of(host) if host is not None else b""
