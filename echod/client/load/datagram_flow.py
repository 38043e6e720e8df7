"""One socket of a load over datagrams: each message has a number, and may be lost, duplicated, late or reordered.

      message   ├─ 12 digits: its number ─┤─ bytes of the pattern ─┤

Digits are the same in the replies of every kind of service that is recognized. The bytes of the pattern depend on the
socket and on the number, so a reply with the number of another message or socket does not fit.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from operator import eq
from select import EPOLLIN, EPOLLOUT
from time import perf_counter_ns
from typing import Any, ClassVar, Final

from twisted.internet.error import ConnectionDone

from echod.client.load.counts import TIMED_OUT, WRONG, cause_of
from echod.client.load.flow import Load
from echod.client.load.pacing import SECOND, Backoff
from echod.client.load.pattern import SURE, OtherService, place_of
from echod.escaping import system_error
from echod.transports.port_epoll import Watcher

MARK: Final = 12  #: bytes of the number, and so of the shortest message
A_TURN: Final = 64  #: datagrams that are received before other sockets are served
ROOM: Final = 65_536
"""Bytes of recv(2): any datagram of UDP. More only for longer messages of Unix sockets, because malloc(3) would map and
unmap memory for each call."""
REMEMBERED: Final = 65_536  #: lost messages whose replies are recognized as late


class DatagramFlow:
    """A connected socket. `header` precedes each datagram that it sends.

    A refusal (an ICMP error, or a Unix socket that does not exist) is a failure of all messages in flight.
    """

    proves: ClassVar[bool] = False  #: as in Flow
    watched = 0

    def __init__(self, load: Load, number: int) -> None:
        self.load = load
        self.number = number  #: from 0
        self.backoff = Backoff()
        self.opened = self.dialed = self.target = 0  #: as in Flow
        self.leaving = self.failed = False
        self._watcher: Watcher | None = None
        self._socket: Any = None
        self._header = b""
        self._numbered = 0
        self._highest = -1  # number of a message that has a reply
        self._waiting: dict[bytes, tuple[int, int, int, bytes]] = {}
        """Of each message in flight, by its mark: number, planned time, time of sending, and its bytes. By number."""
        self._unsent: deque[bytes] = deque()  # messages in flight that the kernel has not accepted yet
        self._lost: dict[bytes, None] = {}  # marks, the oldest first

    @property
    def room(self) -> int:
        """How many messages can be sent now."""
        return 0 if self._socket is None or self.leaving else self.load.depth - len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Messages that have no reply yet."""
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        """Whether the socket is connected."""
        return self._socket is not None

    def open(self) -> None:
        """Open the socket."""
        self.load.dial(self)

    def attach(self, opened: socket.socket, watcher: Watcher, header: bytes) -> None:
        """Use a connected, non-blocking socket."""
        self._socket, self._watcher, self._header = opened, watcher, header
        watcher.join(self)
        watcher.watch(self, EPOLLIN)
        self.opened += 1
        self.load.counts.connections += 1
        self.load.opened(self)

    def unreachable(self, error: OSError) -> None:
        """The socket cannot be used: close it."""
        counts = self.load.counts
        self.failed = True
        self.load.failed(self, cause_of(error), system_error(error))
        counts.abandoned += len(self._waiting)
        for mark in self._waiting:
            self._remember(mark)
        self._waiting.clear()
        self._close()

    def _close(self) -> None:
        self._unsent.clear()
        if self._socket is not None and self._watcher is not None:
            self._watcher.forget(self)
            self._socket.close()
            self._socket = None
        self.load.closed(self)
        self.failed = False

    def leave(self) -> None:
        """Send nothing more. Duplicates that still arrive are counted."""
        self.leaving = True

    def issue(self, times: Sequence[int], now: int) -> None:
        """Send a message for each planned time; `room` must be enough."""
        counts = self.load.counts
        for planned in times:
            number = self._numbered
            data = self._message(number)
            self._numbered += 1
            self._waiting[data[:MARK]] = number, planned, now, data
            self._unsent.append(data)
            counts.bytes_sent += len(data)
        counts.sent += len(times)
        if not self.watched & EPOLLOUT:
            self.doWrite()

    def _message(self, number: int) -> bytes:
        size = self.load.sizes.of(number) - MARK
        place = place_of(self.number, 0) + number * self.load.sizes.most
        return b"%012d%s" % (number, self.load.pattern.cut(place, size))

    # for the loop: echod.transports.port_epoll.Watched

    def fileno(self) -> int:
        """The descriptor, or -1 without a socket."""
        return -1 if self._socket is None else int(self._socket.fileno())

    def doWrite(self) -> None:
        """Send the messages that wait."""
        unsent, watcher = self._unsent, self._watcher
        assert watcher is not None
        header, send = self._header, self._socket.send
        try:
            while unsent:
                send(header + unsent[0] if header else unsent[0])
                unsent.popleft()
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                watcher.watch(self, EPOLLIN | EPOLLOUT)
            else:
                self.unreachable(error)
            return
        if self.watched & EPOLLOUT:
            watcher.watch(self, EPOLLIN)

    def doRead(self) -> None:
        """Receive and verify datagrams, up to A_TURN."""
        receive, room = self._socket.recv, max(ROOM, self.load.sizes.most + 1)
        done = 0
        for _ in range(A_TURN):
            try:
                data = receive(room)
            except BlockingIOError:
                break
            except OSError as error:
                self.unreachable(error)
                return
            done += self._received(data, perf_counter_ns())
        if done and not self.leaving:
            self.load.completed(self, done, perf_counter_ns())

    def connectionLost(self, reason: Any) -> None:
        """Handle an ICMP error without data to read, or the end of the loop."""
        if isinstance(reason.value, ConnectionDone):
            self._close()
            return
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.unreachable(OSError(code, os.strerror(code)))

    def check(self, now: int, patience: int) -> None:
        """Count messages that have waited longer than `patience` nanoseconds as lost."""
        done = 0
        while self._waiting:
            mark, (number, _, sent, _) = next(iter(self._waiting.items()))
            if now - sent <= patience:
                break
            del self._waiting[mark]
            self._remember(mark)
            done += 1
            detail = f"message {number + 1}: no reply within {patience / SECOND:g} s (ETIMEDOUT)"
            self.load.failed(self, TIMED_OUT, detail)
        self.load.counts.lost += done
        if done:
            self.load.completed(self, done, now)

    def _remember(self, mark: bytes) -> None:
        self._lost[mark] = None
        if len(self._lost) > REMEMBERED:
            del self._lost[next(iter(self._lost))]

    def _received(self, data: bytes, now: int) -> int:
        """Verify a datagram. Returns 1 if a message has its fate now."""
        counts, mark = self.load.counts, data[:MARK]
        counts.bytes_received += len(data)
        entry = self._waiting.get(mark)
        if entry is None:
            self._unexpected(data, mark)
            return 0
        number, planned, _, sent = entry
        if data != self.load.pattern.reply(sent) and not self._decide(number, sent, data):
            return self._drop(mark)
        del self._waiting[mark]
        counts.recent.record(now - planned)
        counts.received += 1
        if number < self._highest:
            counts.reordered += 1
        else:
            self._highest = number
        self.backoff.reset()
        return 1

    def _drop(self, mark: bytes) -> int:
        """Count a message as wrong; 0 if the load has ended because of it."""
        if self._waiting.pop(mark, None) is None:
            return 0
        self.load.counts.wrong += 1
        return 1

    def _decide(self, number: int, sent: bytes, data: bytes) -> bool:
        """Handle a reply that does not fit. Returns True if it fits another kind of service."""
        pattern = self.load.pattern
        try:
            wrong = pattern.decide(sent, data, first=self.load.counts.received < SURE)
        except OtherService as error:
            self.load.refuse(str(error))
            return False
        if wrong is None:
            return True
        expected = pattern.reply(sent)
        if wrong < min(len(expected), len(data)):
            what = f"byte {wrong} is 0x{data[wrong]:02x}, expected 0x{expected[wrong]:02x}"
        else:
            what = f"the reply has {len(data)} bytes, expected {len(expected)}"
        self.load.failed(self, WRONG, f"message {number + 1}: {what}")
        return False

    def _similar(self, sent: bytes, data: bytes) -> bool:
        """Whether at least half of the bytes are those of the reply to a message."""
        return bool(2 * sum(map(eq, self.load.pattern.reply(sent), data)) >= len(data))

    def _unexpected(self, data: bytes, mark: bytes) -> None:
        """Handle a datagram that no message waits for: late, duplicated or wrong, or of another kind of service."""
        counts, pattern = self.load.counts, self.load.pattern
        number = int(mark) if mark.isdigit() and len(mark) == MARK else self._numbered
        if number < self._numbered and data == pattern.reply(self._message(number)):
            if mark in self._lost:
                del self._lost[mark]
                counts.late += 1
            else:
                counts.duplicated += 1
        elif counts.received or any(self._similar(sent, data) for *_, sent in self._waiting.values()):
            self.load.failed(self, WRONG, f"a datagram of {len(data)} bytes fits no message")
        else:
            self.load.refuse(pattern.other_service(data))
