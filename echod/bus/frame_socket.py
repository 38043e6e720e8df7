"""One end of a Unix stream between a process and the hub: frames in and out, without blocking, in bounded memory.

The owner bounds `messages`: it stops sending, or calls `drop`. Received frames are processed within the work budget;
meanwhile nothing is read, and the other end's frames wait there.
"""

from __future__ import annotations

import socket
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.bus.frames import Decoder, Frame, WrongFrame
from echod.escaping import system_error
from echod.gate.work_budget import WorkBudget

WAITING: Final = 262_144  #: bytes that wait for one process, as many as for one reader (`services.outbox`)
OVERHEAD: Final = 64  #: bytes that a frame counts for besides its own, as a line of an outbox does
READ: Final = 65_536  #: bytes of one read
AT_ONCE: Final = 64  #: frames of one system call


class Owner:
    """The callbacks of a FrameSocket."""

    def received(self, frame: Frame) -> int:
        """A frame has arrived. Returns its cost in units of work. Raises WrongFrame if it is not expected."""
        raise NotImplementedError

    def sent(self) -> None:
        """All frames have been sent."""

    def lost(self, reason: str) -> None:
        """The connection was closed, by the other end or for a wrong frame. No callback follows."""


@implementer(IReadDescriptor, IWriteDescriptor)
class FrameSocket:
    """A connected socket with frames. `change` gets the change of `waiting`, for the send budget.

    Frames of messages have a topic; others are parts of the protocol, and cannot be dropped.
    """

    def __init__(
        self, reactor: Any, connected: socket.socket, owner: Owner, work: WorkBudget, change: Callable[[int], None]
    ) -> None:
        connected.setblocking(False)
        self.waiting = 0  #: bytes that were not sent yet, with OVERHEAD for each frame
        self.messages = 0  #: those of messages only
        self._reactor = reactor
        self._socket = connected
        self._owner = owner
        self._work = work
        self._change = change
        self._decoder = Decoder()
        self._queue: deque[tuple[bytes, str | None]] = deque()  # frames, and the topics of messages
        self._part = 0  # bytes of the first frame that were sent
        self._open = True
        reactor.addReader(self)

    def __len__(self) -> int:
        """The number of frames that wait."""
        return len(self._queue)

    def send(self, data: bytes, topic: str | None = None) -> None:
        """Send the bytes of a frame. `topic` is that of a message."""
        if not self._open:
            return
        if not self._queue:
            self._reactor.addWriter(self)
        self._queue.append((data, topic))
        self._grow(len(data) + OVERHEAD, topic)

    def drop(self) -> Counter[str]:
        """Remove the messages that have not begun. Returns their number for each topic."""
        kept: deque[tuple[bytes, str | None]] = deque()
        dropped: Counter[str] = Counter()
        for at, (data, topic) in enumerate(self._queue):
            if topic is None or (at == 0 and self._part):
                kept.append((data, topic))
            else:
                dropped[topic] += 1
                self._grow(-len(data) - OVERHEAD, topic)
        self._queue = kept
        return dropped

    def close(self) -> None:
        """Close the connection, without a callback."""
        if self._open:
            self._open = False
            self._work.cancel(self._process)
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket.close()
            while self._queue:
                self._forget_first()

    # for the reactor

    def fileno(self) -> int:
        """As IReadDescriptor; -1 after `close`."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """As IReadDescriptor."""
        return "bus"

    def connectionLost(self, _reason: Failure) -> None:
        """As IReadDescriptor: the reactor found the descriptor to be closed or broken."""
        self._lose("the connection is broken")

    def doRead(self) -> None:
        """Read once, and process the frames."""
        try:
            data = self._socket.recv(READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(system_error(error))
            return
        if not data:
            self._lose("the other end has closed the connection")
            return
        self._decoder.add(data)
        self._process()

    def doWrite(self) -> None:
        """Send as much as the kernel takes at once."""
        try:
            self._send()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(system_error(error))
            return
        if not self._queue:
            self._reactor.removeWriter(self)
            self._owner.sent()

    def flush(self) -> None:
        """Send as much as the kernel takes, now and without a callback. An error is found by the reactor later."""
        with suppress(OSError):
            while self._queue:
                self._send()

    def _send(self) -> None:
        batch = [data for data, _ in islice(self._queue, AT_ONCE)]
        if batch:
            batch[0] = batch[0][self._part :]
            self._part += self._socket.sendmsg(batch)
        while self._queue and self._part >= len(self._queue[0][0]):
            self._part -= self._forget_first()

    def _process(self) -> None:
        """Process the received frames within the work budget."""
        try:
            while self._open and (frame := self._decoder.next()) is not None:
                self._work.spend(self._owner.received(frame))
                if self._work.is_used_up:
                    self._reactor.removeReader(self)
                    self._work.wait(self._process)
                    return
        except WrongFrame as error:
            self._lose(str(error))
            return
        if self._open:
            self._reactor.addReader(self)

    def _forget_first(self) -> int:
        """Remove the first frame. Returns its size."""
        data, topic = self._queue.popleft()
        self._grow(-len(data) - OVERHEAD, topic)
        return len(data)

    def _grow(self, size: int, topic: str | None) -> None:
        self.waiting += size
        if topic is not None:
            self.messages += size
        self._change(size)

    def _lose(self, reason: str) -> None:
        if self._open:
            self.close()
            self._owner.lost(reason)
