"""The one conversation over a stream: it performs Replies, with backpressure, half-close and time limits.

It serves a server's connection and a client's alike. Rules that everything here keeps:

* Reading pauses while the kernel takes less than there is, or more than `limits.buffer` octets wait to be sent: a
  peer that never reads is stopped. While too much waits for all together (`gate.send_budget`), it pauses at a page.
* It also pauses while the session holds input (`Reply.held`), which it processes as `gate.work_budget` says.
* The peer's half-close does not end our answer: everything goes out, then we close.
* When we end first, we shut down writing and read what still comes, for a close with unread input would be a
  reset, and the answer could be lost on the way (RFC 1122 4.2.2.13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.events import Closing, Tally
from echod.gate.limits import Limits
from echod.gate.send_budget import LITTLE, Pressure, SendBudget, Watermark
from echod.gate.work_budget import WorkBudget
from echod.model import CLOSE, End, Peer, Reply, Say, Session
from echod.transports.peers import peer_of
from echod.transports.sockets import clamp

LINGER: Final = 5.0
"""Seconds that a peer has to finish after we have: what Apache and nginx grant (lingering_timeout)."""
SILENCE: Final = 1.0
"""Seconds of silence after which a draining daemon says goodbye to a connection."""

_log = Logger()

Begin = Callable[[Peer, Say], Session]


@implementer(IHalfCloseableProtocol, IPushProducer)
class Conversation(Protocol):
    """One connection and its session, of a server or a client.

    `begin` makes the session once the connection is there; `over` hears once, at the end, why it ended. `mark` is
    what all together may have unsent, and `work` the input that they may process in a turn.

    How far its end has come:

    ===================  ==========================================================================================
    `_end`               what is to happen behind everything that is said: `perform` notes it, `abort` makes it RESET
    `_finished`          that has happened at our side: the transport has sent our FIN
    `_lingering_since`   seconds: when `watch` saw that first; the peer has LINGER to finish, too
    `_peer_ended`        the peer has finished sending: there is nothing to read any more
    `_closing`           why it ended, as it is counted; where nothing else was the reason, whether anything was lost
                         is decided when the connection has gone
    ===================  ==========================================================================================
    """

    transport: Any  # Twisted's interfaces tell a part of it only

    def __init__(
        self,
        begin: Begin,
        scheme: str,
        limits: Limits,
        tally: Tally,
        over: Callable[[Conversation, Closing], None],
        mark: Watermark | None = None,
        work: WorkBudget | None = None,
    ) -> None:
        self.peer: Peer
        self.bytes_in = 0
        self._begin = begin
        self._scheme = scheme
        self._limits = limits
        self._tally = tally
        self._over = over
        self._mark = mark or SendBudget().mark(limits.total_buffer)
        self._work = work or WorkBudget()
        self._held = False  # the session has input that it has not processed
        self._end_waits = False  # the peer has finished meanwhile, which the session does not know yet
        self._counted = 0  # unsent octets that the mark knows of
        self._handed = 0  # octets given to the transport
        self._settled = (0, 0)  # octets in and out that the tally has already
        self._more: Iterator[bytes] | None = None
        self._endless = False  # whether that has no end
        self._end = End.NOTHING
        self._paused = False
        self._peer_ended = False
        self._finished = False
        self._lingering_since: float | None = None
        self._closing = Closing.DONE
        self._progress = -1  # octets in and out when `watch` looked last
        self._since = 0.0
        self._waited = False  # whether something was unsent then

    # Twisted's side

    def connectionMade(self) -> None:
        """Begin: the transport throttles us as the producer of its bytes, and we throttle what it reads."""
        transport = self.transport
        self.peer = peer_of(transport, self._scheme)
        self.hold_back(self._mark.pressure)
        if self._mark.pressure:
            clamp(transport)
        transport.registerProducer(self, True)
        try:
            self.session = self._begin(self.peer, self.perform)
        except Exception:
            self._fail()
        else:
            self._ask(self.session.opened)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the peer; behind our own end they are dropped."""
        self.bytes_in += len(data)
        if self._end is not End.CLOSE:
            self._ask(self.session.received, data)

    def readConnectionLost(self) -> None:
        """The peer has finished sending."""
        self._peer_ended = True
        if self._end is End.CLOSE:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        elif self._held:
            self._end_waits = True
        else:
            self._ask(self.session.ended)

    def writeConnectionLost(self) -> None:
        """Our own end has gone out."""
        self._finished = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end, whoever made it."""
        self.settle()
        self._count_unsent(0)
        self._work.cancel(self._process)
        finished = self._peer_ended or reason.check(ConnectionDone)  # a Unix peer that has closed ends with a hang-up
        if self._closing is Closing.DONE and not (finished and self._more is None and not self.unsent):
            self._closing = Closing.LOST
        self._more = None
        if hasattr(self, "session"):
            try:
                self.session.lost()
            except Exception:  # its place and its limits must not go with it
                _log.failure("the service failed at the end of the connection of {peer}", peer=self.peer.remote)
                self._closing = Closing.FAILED
        self._over(self, self._closing)

    def pauseProducing(self) -> None:
        """Too much waits to be sent: stop reading, and stop asking for more."""
        self._count_unsent(self.unsent)
        self._paused = True
        self.hold_back(self._mark.pressure)
        if not self._peer_ended:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """All has been sent."""
        self._paused = False
        self._count_unsent(0)
        self._proceed()
        self._read_on()

    def stopProducing(self) -> None:
        """The transport is gone."""
        self._more = None

    # our side

    @property
    def bytes_out(self) -> int:
        """Octets that the kernel has taken."""
        return self._handed - self.unsent

    @property
    def paused(self) -> bool:
        """Whether so much waits to be sent that nothing more is asked for."""
        return self._paused

    @property
    def unsent(self) -> int:
        """Octets handed to the transport that the kernel has not taken. FileDescriptor keeps them in two places."""
        transport = self.transport
        buffered = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
        return buffered + int(getattr(transport, "_tempDataLen", 0))

    def settle(self) -> None:
        """Bring the octets that came and went since the last time into the tally; the end does so by itself."""
        came, gone = self.bytes_in, self.bytes_out
        self._tally.bytes_in += came - self._settled[0]
        self._tally.bytes_out += gone - self._settled[1]
        self._settled = (came, gone)

    def hold_back(self, pressure: Pressure) -> None:
        """So much waits for all together: how much of it may be ours from now on."""
        buffer = self._limits.buffer
        self.transport.bufferSize = min(buffer, LITTLE) if pressure is Pressure.FULL else buffer
        if pressure and self._paused:
            clamp(self.transport)
            self._tally.held_back += pressure is Pressure.FULL

    def _count_unsent(self, octets: int) -> None:
        if octets != self._counted:
            self._mark.change(octets - self._counted)
            self._counted = octets

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
            self._endless = self._endless or reply.endless
            self._more = reply.more if self._more is None else chain(self._more, reply.more)
        if reply.end is not End.NOTHING:
            self._end = reply.end
        if self._more is not None or reply.end is not End.NOTHING:
            self._proceed()

    def go_on(self, bytes_in: int, bytes_out: int, waiting: bytes) -> None:
        """Take over from the fast plane: so much came, so much went, and `waiting` is to go."""
        self.bytes_in = bytes_in
        self._handed = bytes_out
        self._settled = (bytes_in, bytes_out)
        self.perform(Reply(waiting))

    def _ask(self, question: Callable[..., Reply], *given: bytes) -> None:
        try:
            self.perform(reply := question(*given))
            self._hold(reply.held)
        except Exception:
            self._fail()

    def _hold(self, held: bool) -> None:
        """Read nothing while the session holds input; once it has ended, what it holds does not matter."""
        was, self._held = self._held, held and self._end in (End.NOTHING, End.HALF_CLOSE)
        if self._held:
            self._work.wait(self._process)
            if not self._peer_ended:
                self.transport.pauseProducing()
        elif was:
            self._read_on()

    def _process(self) -> None:
        """The session processes its next portion."""
        self._ask(self.session.proceed)
        if self._end_waits and not self._held:
            self._end_waits = False
            self.readConnectionLost()

    def _read_on(self) -> None:
        if not (self._paused or self._held or self._peer_ended):
            self.transport.resumeProducing()

    def _fail(self) -> None:
        """What is being handled is a bug of the service, and no reason to leave its peer waiting."""
        _log.failure("the service failed; the connection of {peer} is reset", peer=self.peer.remote)
        self.abort(Closing.FAILED)

    def _write(self, data: bytes) -> None:
        self._handed += len(data)
        self.transport.write(data)

    def _proceed(self) -> None:
        """Hand out more as long as the peer takes it, and end once there is no more."""
        try:
            while self._more is not None and not self._paused:
                piece = next(self._more, None)
                if piece is None:
                    self._more, self._endless = None, False
                elif piece:
                    self._write(piece)
        except Exception:
            self._fail()
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
        if self._paused:
            self._paused = False
            self._read_on()

    # time

    def watch(self, now: float) -> None:
        """Look whether something moved since the last look, and end what has been still for too long."""
        unsent = self.unsent
        self._count_unsent(unsent)  # less than `buffer` may wait without anybody being told
        progress = self.bytes_in + self.bytes_out
        if progress != self._progress or (unsent and not self._waited):  # the time to take it begins now
            self._progress = progress
            self._since = now
        self._waited = unsent > 0
        if self._finished and self._lingering_since is None:
            self._lingering_since = now
        still = now - self._since
        limits = self._limits
        if self._end is End.CLOSE and self._lingering_since is not None and now - self._lingering_since >= LINGER:
            self.abort(Closing.LINGER)
        elif unsent:
            if limits.stall and still >= limits.stall:
                self.abort(Closing.STALL)
        elif limits.idle and still >= limits.idle and not self._held:
            self._closing = Closing.IDLE
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def leave(self, now: float, silence: float) -> None:
        """The daemon drains: say goodbye behind what is owed, or after `silence` seconds without a byte.

        Endless talk ends at once.
        """
        if self._endless:
            self._more, self._endless = None, False
            self.perform(CLOSE)
        elif self._end is End.NOTHING and not self._held:
            silent = not self.unsent and now - self._since >= silence
            if self._more is not None or silent:
                self.perform(CLOSE)

    def abort(self, reason: Closing) -> None:
        """End at once, with RST; nothing more is said, or asked for."""
        self._closing = reason
        self._end = End.RESET
        self._more = None
        self.transport.abortConnection()
