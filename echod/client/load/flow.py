"""One connection of a load: the messages in flight on it, and the verification of its replies.

A flow is the `Receiver` on top of the layers of its connection. Replies have the order of the messages, so the next
bytes belong to the first message in flight. A failure ends the connection, because its later bytes cannot be trusted.
Then the flow is opened again, and sends other bytes (`pattern.place_of`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any, ClassVar, Final, Protocol

from echod.client.load.counts import CLOSED, PROTOCOL, TIMED_OUT, WRONG, LoadCounts, cause_of
from echod.client.load.end_of_connection import explained
from echod.client.load.pacing import SECOND, Backoff
from echod.client.load.pattern import SURE, OtherService, Pattern, Sizes, place_of
from echod.escaping import escaped, system_error
from echod.model import PLAIN, Arrival
from echod.transports.layers.layer_interface import ProtocolError, StreamTransport

LINGER: Final = 1.0  #: seconds that the peer has to close after our end


class Load(Protocol):
    """The load that flows belong to. A flow calls it; `flow` is always the caller."""

    counts: LoadCounts
    pattern: Pattern
    sizes: Sizes
    depth: int  #: messages in flight on each connection, at most

    def dial(self, flow: Any) -> None:
        """Open the connection of a flow."""

    def opened(self, flow: Any) -> None:
        """Handle a flow that can send."""

    def closed(self, flow: Any) -> None:
        """Handle the end of a connection; each of its messages has its fate."""

    def completed(self, flow: Any, done: int, now: int) -> None:
        """Handle the fates of so many messages of a flow, which can send others."""

    def failed(self, flow: Any, cause: str, detail: str) -> None:
        """Count a failure of a flow, and report it."""

    def refuse(self, reason: str) -> None:
        """End the load, because the service is not one that it can measure."""


class Flow:
    """A stream: the bytes of its messages follow each other."""

    proves: ClassVar[bool] = True  #: whether an open flow proves that the service can be reached

    def __init__(self, load: Load, number: int) -> None:
        self.load = load
        self.number = number  #: from 0
        self.backoff = Backoff()
        self.opened = 0  #: how often it was opened
        self.dialed = 0  #: when the connection was begun
        self.target = 0  #: which address of the name it is for
        self.leaving = False  #: the load ends the connection
        self.failed = False  #: a failure ends the connection
        self._below: StreamTransport | None = None  # from `begin` until `lost`
        self._ending = False
        self._reset()

    def _reset(self) -> None:
        self._place = place_of(self.number, self.opened)
        self._numbered = 0  # messages of this connection
        self._sent = self._received = 0  # bytes of messages of this connection
        self._waiting: deque[tuple[int, int]] = deque()  # of each message in flight, its end and its planned time
        self._since = 0  # when the first message in flight became the first

    @property
    def room(self) -> int:
        """How many messages can be sent now."""
        return 0 if self._below is None or self._ending else self.load.depth - len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Messages that have no reply yet."""
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        """Whether the connection is made, and its handshakes are complete."""
        return self._below is not None

    def open(self) -> None:
        """Open the connection."""
        self.load.dial(self)

    def issue(self, times: Sequence[int], now: int) -> None:
        """Send a message for each planned time; `room` must be enough."""
        if not self._waiting:
            self._since = now
        begin = self._sent
        self._number(times)
        self._write(begin, len(times))

    def _number(self, times: Sequence[int]) -> None:
        sizes, begin, counts = self.load.sizes, self._sent, self.load.counts
        for planned in times:
            self._sent += sizes.only or sizes.of(self._numbered)
            self._numbered += 1
            self._waiting.append((self._sent, planned))
        counts.sent += len(times)
        counts.bytes_sent += self._sent - begin

    def _write(self, begin: int, count: int) -> None:
        """Send the last `count` messages, which begin at byte `begin`."""
        below = self._below
        assert below is not None
        below.write(self.load.pattern.cut(self._place + begin, self._sent - begin))
        below.flush()

    # for the level below: echod.transports.layers.layer_interface.Receiver

    def begin(self, below: StreamTransport) -> None:
        """The connection is made, and its handshakes are complete."""
        self._below = below
        self.load.counts.connections += 1
        self.load.counts.connecting.record(perf_counter_ns() - self.dialed)
        self._begin()

    def _begin(self) -> None:
        self._reset()
        self.opened += 1
        self.load.opened(self)

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        """Verify bytes, and complete the messages that end with them."""
        if self.failed:
            return
        end = self._received + len(data)
        if (end <= self._sent and self.load.pattern.fits(data, self._place + self._received)) or self._settle(data):
            self._complete(end)

    def ended(self) -> None:
        """The peer has closed."""
        if self.leaving and self._below is not None:
            self._below.close(0)
        else:
            after = f"the peer closed the connection after {self._received} bytes of replies"
            self.fail(*self._protocol_error() or (CLOSED, after))

    def stuck(self) -> None:
        """The kernel does not accept all data. Nothing to do: the messages in flight are bounded."""

    def drained(self) -> None:
        """The kernel has accepted all data."""

    def lost(self, reason: Exception) -> None:
        """The connection has ended, or its handshakes have failed."""
        wrong = self._protocol_error()
        self._below = None
        if self._waiting or not self.leaving:
            self.fail(*wrong or explained(reason))
        self._end()

    def _protocol_error(self) -> tuple[str, str] | None:
        """The cause and the description, if the peer has violated the protocol of a layer after the handshake."""
        error = None if self._below is None else self._below.facts.error
        return (PROTOCOL, escaped(str(error))) if isinstance(error, ProtocolError) else None

    def unreachable(self, error: OSError) -> None:
        """The connection cannot be made."""
        self.fail(cause_of(error), system_error(error))
        self._end()

    def fail(self, cause: str, detail: str) -> None:
        """Count a failure, unless one is counted already, and end the connection."""
        if self.failed:
            return
        self.failed = self._ending = True
        self.load.failed(self, cause, detail)
        if self._below is not None:
            self._below.abort()

    def _end(self) -> None:
        self.load.counts.abandoned += len(self._waiting)
        self._waiting.clear()
        self.load.closed(self)
        self.failed = self._ending = self.leaving = False

    def check(self, now: int, patience: int) -> None:
        """Fail if the first message in flight has waited longer than `patience` nanoseconds."""
        if self.leaving and self._below is not None and now - self._since > LINGER * SECOND:
            self._below.abort()
        elif self._waiting and not self._ending and now - self._since > patience:
            number = self._numbered - len(self._waiting) + 1
            self._waiting.popleft()
            self.load.counts.lost += 1
            self.fail(TIMED_OUT, f"message {number}: no reply within {patience / SECOND:g} s (ETIMEDOUT)")

    def leave(self) -> None:
        """End the connection; bytes that still arrive are an error."""
        self.leaving = self._ending = True
        self._since = perf_counter_ns()
        if self._below is not None and not self.failed:
            self._below.finish()

    def _complete(self, end: int) -> None:
        """The connection has received `end` correct bytes: complete the messages that end there or before."""
        counts, waiting = self.load.counts, self._waiting
        counts.bytes_received += end - self._received
        self._received = end
        if not waiting or waiting[0][0] > end:
            return
        now = perf_counter_ns()
        record, done = counts.recent.record, 0
        while waiting and waiting[0][0] <= end:
            record(now - waiting.popleft()[1])
            done += 1
        counts.received += done
        self._since = now
        self.backoff.reset()
        self.load.completed(self, done, now)

    def _settle(self, data: bytes) -> bool:
        """Handle bytes that do not fit. Returns True if they fit another kind of service."""
        return self._decide(data, self.load.pattern.cut(self._place + self._received, self._expected(len(data))))

    def _expected(self, size: int) -> int:
        """The number of bytes to compare with `size` received ones."""
        return min(size, self._sent - self._received)

    def _decide(self, data: bytes, sent: bytes) -> bool:
        first = self.load.counts.bytes_received < SURE
        try:
            wrong = self.load.pattern.decide(sent, data, first=first)
        except OtherService as error:
            self.failed = self._ending = True
            self.load.refuse(str(error))
            return False
        if wrong is not None:
            self._wrong(wrong, sent, data)
        return wrong is None

    def _wrong(self, index: int, sent: bytes, data: bytes) -> None:
        """Fail because of the byte of `data` with this index. Messages that end before it are complete."""
        self._ending = True
        place = self._received + index
        self._complete(place)
        expected = self.load.pattern.reply(sent)
        if index >= len(expected):
            what = "more bytes were received than were sent"
        elif index >= len(data):
            what = f"a reply of {len(data)} bytes, expected {len(expected)}"
        else:
            what = f"0x{data[index]:02x}, expected 0x{expected[index]:02x}"
        where = f"byte {place} of the connection"
        if self._waiting:
            begin = self._waiting[0][0] - self.load.sizes.of(self._numbered - len(self._waiting))
            where = f"message {self._numbered - len(self._waiting) + 1}, byte {place - begin} ({where})"
            self._waiting.popleft()
            self.load.counts.wrong += 1
        self.fail(WRONG, f"{where}: {what}")


class MessageFlow(Flow):
    """A connection that keeps messages: each reply is one whole message."""

    def _write(self, begin: int, count: int) -> None:
        below, pattern, place = self._below, self.load.pattern, self._place
        assert below is not None
        for number in range(self._numbered - count, self._numbered):
            size = self.load.sizes.of(number)
            below.write(pattern.cut(place + begin, size), text=False)
            begin += size
        below.flush()

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> None:
        """Verify one message."""
        if self.failed:
            return
        end = self._received + len(data)
        whole = bool(self._waiting) and self._waiting[0][0] == end
        if (whole and self.load.pattern.fits(data, self._place + self._received)) or self._settle(data):
            self._complete(end)

    def _expected(self, size: int) -> int:
        return self._waiting[0][0] - self._received if self._waiting else 0


class ConnectionFlow(Flow):
    """A connection for each message: connect, send the message, verify the reply, close."""

    proves = False
    _busy = False

    @property
    def room(self) -> int:
        """1 if no connection is open."""
        return int(not self._busy)

    def open(self) -> None:
        """The flow can send: its connection is opened for the message."""
        self._busy = False
        self.load.opened(self)

    def issue(self, times: Sequence[int], now: int) -> None:
        """Connect for a message."""
        self._busy = True
        self._reset()
        self._since = now
        self._number(times)
        self.load.dial(self)

    def _begin(self) -> None:
        self.opened += 1
        self._write(0, 1)

    def _complete(self, end: int) -> None:
        super()._complete(end)
        if not self._waiting:
            self.leave()


class MessageConnectionFlow(ConnectionFlow, MessageFlow):
    """The same for connections that keep messages."""
