"""A connection and its session: performs Replies, with backpressure, half-close and time limits.

It is the highest level of every stack (`layers.layer_interface`), of a server or a client, over streams and over
messages. Its rules:

* Reading pauses while the kernel does not accept all data, or while more than `limits.buffer` bytes are unsent. So a
  peer that does not read is not read from. While the send budget is used up (`gate.total_buffer`), it pauses at a page.
* Reading also pauses while the session holds input (`Reply.held`). The session processes it within `gate.work_budget`.
* After the peer's half-close, pending output is still sent. Then the connection is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger

from echod.events import Closing, Counters
from echod.gate.limits import Limits
from echod.gate.total_buffer import SendBudget, Watermark
from echod.gate.work_budget import WorkBudget
from echod.model import CLOSE, NO_FACTS, NOTHING, PLAIN, Arrival, End, Peer, Reply, Say, Session
from echod.transports.layers.fault_injection import FaultInjected, FaultLayer
from echod.transports.layers.layer_interface import LingerTimeout, MessageTooLarge, ProtocolError, StreamTransport
from echod.transports.reply_writer import ReplyWriter

SILENCE: Final = 1.0
"""Seconds without a byte after which a draining daemon closes a connection."""

_NAMED: Final = {
    LingerTimeout: Closing.LINGER,
    MessageTooLarge: Closing.MESSAGE,
    ProtocolError: Closing.PROTOCOL,
    FaultInjected: Closing.FAULT,
}

_log = Logger()

Begin = Callable[[Peer, Say], Session]


class Conversation(ReplyWriter):
    """One connection and its session.

    `begin_session` makes the session after the connection is made. `over` is called once, at the end, with the reason.
    `mark` limits the unsent bytes of all connections. `work` limits the input that they process in one turn.
    """

    __slots__ = (
        "_begin_session",
        "_closing",
        "_end_waits",
        "_held",
        "_keepalive_at",
        "_over",
        "_peer_ended",
        "_progress",
        "_scheme",
        "_settled",
        "_since",
        "_waited",
        "_work",
        "peer",
        "received_bytes",
        "session",
    )  # fmt: skip

    def __init__(
        self,
        begin_session: Begin,
        scheme: str,
        limits: Limits,
        counters: Counters,
        over: Callable[[Conversation, Closing], None],
        mark: Watermark | None = None,
        work: WorkBudget | None = None,
    ) -> None:
        super().__init__(limits, counters, mark or SendBudget().mark(limits.total_buffer))
        self.peer: Peer
        self.session: Session
        self.received_bytes = 0
        self._begin_session, self._over = begin_session, over
        self._scheme = scheme
        self._work = work or WorkBudget()
        self._held = False  # the session has input that it has not processed
        self._peer_ended = self._end_waits = False  # the peer has finished; and the session is not informed of it yet
        self._settled = (0, 0)  # bytes in and out that are in the counters
        self._closing = Closing.DONE  # the reason that is counted; LOST if output is unsent at the end
        self._progress, self._since, self._waited = -1, 0.0, False  # at the last `watch`: bytes, time, output unsent
        self._keepalive_at = -1  # the progress at the last `keep_alive`

    # for the level below

    def begin(self, below: StreamTransport) -> None:
        """Make the session of a new connection, and send its first data."""
        self.below, self.begun = below, True
        facts = below.facts
        self._messages = facts.shape.keeps_messages
        learned, choose = facts.learned or NO_FACTS, below.choose if isinstance(below, FaultLayer) else None
        self.peer = Peer(self._scheme, facts.local, facts.remote, facts.user, facts.groups, learned, choose)
        self.hold_back(self._mark.pressure)
        if self._mark.pressure:
            below.clamp()
        try:
            self.session = self._begin_session(self.peer, self.perform)
        except Exception:
            self._fail()
        else:
            self._ask(self.session.opened)

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        """Pass bytes of the peer, or one message, to the session. After the end of the session they are dropped."""
        self.received_bytes += len(data)
        if self._end is End.CLOSE or self._end is End.RESET:
            return
        try:
            reply = self.session.received(data, arrival)
            if arrival is not PLAIN:
                self._text = arrival.text
            if (  # the fast case: only data, and no other output is pending
                reply.end is End.NOTHING
                and reply.more is None
                and not reply.held
                and reply.text is None
                and self._more is None
                and self._end is End.NOTHING
                and not self._held
            ):
                answer = reply.data
                if answer or (answer is not None and self._messages):
                    self._handed += len(answer)
                    self.below.write(answer, self._text)
            else:
                self.perform(reply)
                self._hold(reply.held)
        except Exception:
            self._fail()

    def ended(self) -> None:
        """Handle the FIN of the peer: inform the session after it has processed held input."""
        self._peer_ended = True
        if self._end is End.CLOSE or self._end is End.RESET:
            return  # the transport closes when everything has been sent
        self._end_waits = self._held
        if not self._held:
            self._ask(self.session.ended)

    def stuck(self) -> None:
        """Pause reading and the iterator of the reply, because too many bytes are unsent."""
        self._count_unsent(self.unsent)
        if self._pausing:
            self._paused = True
            self.hold_back(self._mark.pressure)
            if not self._peer_ended:
                self.below.pause()

    def drained(self) -> None:
        """Continue with the reply and with reading, because all output was sent."""
        self._paused = False
        self._count_unsent(0)
        self._proceed()
        self._read_on()

    def lost(self, reason: Exception) -> None:
        """Handle the end of the connection, from either side."""
        self.flush_counters()
        self._count_unsent(0)
        self._work.cancel(self._process)
        finished = self._peer_ended or isinstance(reason, ConnectionDone)  # a Unix peer ends with a hang-up
        if self._closing is Closing.DONE:
            whole = finished and self._more is None and not self.unsent
            named = _NAMED.get(type((self.begun and self.below.facts.error) or reason))
            self._closing = named or (Closing.DONE if whole else Closing.LOST)
        self._more = None
        if hasattr(self, "session"):
            try:
                self.session.lost()
            except Exception:  # the slot must be given back nevertheless
                _log.failure("the service failed at the end of the connection from {peer}", peer=self.peer.remote)
                self._closing = Closing.FAILED
        self._over(self, self._closing)

    # for the caller

    @property
    def bytes_in(self) -> int:
        """Bytes received, including those after the end of the session."""
        return self.received_bytes + (self.below.dropped if self.begun else 0)

    def flush_counters(self) -> None:
        """Flush the byte counts since the last call into the counters. `lost` calls it at the end."""
        came, gone = self.bytes_in, max(self.bytes_out, self._settled[1])  # a layer's `unsent` is an upper bound
        self._counters.bytes_in += came - self._settled[0]
        self._counters.bytes_out += gone - self._settled[1]
        self._settled = (came, gone)

    def resume_from_fastpath(self, bytes_in: int, bytes_out: int, waiting: bytes, pending: int = 0) -> None:
        """Continue a connection of the fast path with its byte counts; `waiting` is its unsent output.

        The layer below has `pending` more bytes of unsent output.
        """
        self.received_bytes = bytes_in
        self._handed = bytes_out + pending
        self._settled = (bytes_in, bytes_out)
        self.perform(Reply(waiting))

    def _ask(self, question: Callable[[], Reply]) -> None:
        try:
            reply = question()
            if reply is not NOTHING or self._held:
                self.perform(reply)
                self._hold(reply.held)
        except Exception:
            self._fail()

    def _hold(self, held: bool) -> None:
        """Pause reading while the session holds input. After its end, held input is ignored."""
        was, self._held = self._held, held and self._end in (End.NOTHING, End.HALF_CLOSE)
        if self._held:
            self._work.wait(self._process, self.peer.share)
            if not self._peer_ended:
                self.below.pause()
        elif was:
            self._read_on()

    def _process(self) -> None:
        """Process the next portion of held input."""
        self._ask(self.session.proceed)
        if self._end_waits and not self._held:
            self.ended()

    def _read_on(self) -> None:
        if not (self._paused or self._held or self._peer_ended):
            self.below.resume()

    def _fail(self) -> None:
        """Log the exception of the service, and reset the connection so that the peer does not wait."""
        _log.failure("the service failed; the connection from {peer} is reset", peer=self.peer.remote)
        self.abort(Closing.FAILED)

    # time

    def watch(self, now: float) -> None:
        """Check for progress since the last call, and end the connection at the `stall` or `idle` limit."""
        unsent = self.unsent
        self._count_unsent(unsent)  # the transport does not report less than `buffer`
        progress = self.bytes_in + self.bytes_out + self.below.facts.activity if self.begun else 0
        if progress != self._progress or (unsent and not self._waited):  # `stall` begins now
            self._progress = progress
            self._since = now
        self._waited = unsent > 0
        still = now - self._since
        limits = self._limits
        if unsent:
            if limits.stall and still >= limits.stall:
                self.abort(Closing.STALL)
        elif limits.idle and still >= limits.idle and not self._held:
            self._closing = Closing.IDLE
            self.below.close(linger=0)
        elif limits.idle and still >= limits.idle / 2 and self._keepalive_at != progress and self.begun:
            self._keepalive_at = progress
            self.below.keep_alive()

    def leave(self, now: float, silence: float) -> None:
        """End the session because the daemon drains: after pending output, or after `silence` seconds without data.

        An endless reply ends immediately.
        """
        if self.begun:
            self.below.facts.going_away = True
            self.below.flush()
        if self._endless:
            self._more, self._endless = None, False
            self.perform(CLOSE)
        elif self._end is End.NOTHING and not self._held:
            silent = not self.unsent and now - self._since >= silence
            if self._more is not None or silent:
                self.perform(CLOSE)

    def abort(self, reason: Closing) -> None:
        """Reset the connection; pending output is dropped."""
        self._closing = reason
        self._end = End.RESET
        self._more = None
        if self.begun:
            self.below.abort()
