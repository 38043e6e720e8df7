"""A queue of output that is sent later: after a delay for each write, and at a limited rate, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

SLICE: Final = 0.02  #: seconds of `rate` that are sent at once
CHUNK_EVERY: Final = 0.001  #: seconds between two chunks: each costs a turn of the reactor and a system call
EARLY: Final = 1e-6  #: seconds that a timer may fire early by rounding
WRITE: Final = 128  #: bytes: what each write takes in memory besides its bytes

Send = Callable[[bytes, bool | None], None]
"""Sends bytes, or one message and whether it is text."""


class DelayedOutput:
    """Output that waits. `clock` has callLater and seconds. While it is `blocked`, nothing is sent.

    `send` gets each piece; it may call `clear`. `after` is called when a timer fires: it calls `run`. With `whole`,
    writes are messages and not split.
    """

    def __init__(self, clock: Any, send: Send, after: Callable[[], None]) -> None:
        self.size = 0  #: bytes that wait; an empty message counts as one
        self.whole = False
        self.blocked = False
        self._clock, self._send, self._after = clock, send, after
        self._queue: deque[tuple[float, bytes, bool | None]] = deque()  # with the time when each may be sent
        self._last_due = self._free_at = 0.0  # the time of the last write; when `rate` permits the next byte
        self._offset = 0  # bytes of the first write that were sent
        self._timer: Any = None

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def memory(self) -> int:
        """The approximate memory of what waits, in bytes: those of the writes, and WRITE for each further write."""
        return self.size + WRITE * max(0, len(self._queue) - 1)

    def add(self, delay: float, data: bytes, text: bool | None) -> None:
        """Add a write that may be sent after `delay` seconds, and after those before it."""
        now = self._clock.seconds()
        if not self._queue:
            self._free_at = max(self._free_at, now)
        self._last_due = max(self._last_due, now + delay)
        self._queue.append((self._last_due, data, text))
        self.size += len(data) or 1

    def run(self, rate: int | None, chunk: int | None, flush: Callable[[], None]) -> None:
        """Send what may be sent now: `rate` bytes a second, and `chunk` bytes in CHUNK_EVERY, followed by `flush`."""
        chunk = None if self.whole else chunk
        while self._queue and not self.blocked:
            due, data, text = self._queue[0]
            wait = max(due, self._free_at) - self._clock.seconds()
            if wait > EARLY:
                self._call_later(wait)
                return
            begin, size = self._offset, self._slice(len(data) - self._offset, rate, chunk)
            self._offset += size
            if self._offset == len(data):
                self._queue.popleft()
                self._offset = 0
            self.size -= size or 1
            if rate:
                self._free_at += size / rate
            if chunk:
                self._free_at = max(self._free_at, self._clock.seconds() + CHUNK_EVERY)
            self._send(data[begin : begin + size], text)
            if chunk:
                flush()

    def unblock(self) -> None:
        """The level below accepts output again. The rate does not make up for the time in between."""
        self.blocked = False
        self._free_at = max(self._free_at, self._clock.seconds())

    def clear(self) -> int:
        """Drop everything; returns how many bytes."""
        dropped = sum(len(data) for _, data, _ in self._queue) - self._offset
        self._queue.clear()
        self.size = self._offset = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return dropped

    def _slice(self, size: int, rate: int | None, chunk: int | None) -> int:
        if self.whole:
            return size
        if rate:
            size = min(size, max(1, int(rate * SLICE)))
        return min(size, chunk) if chunk else size

    def _call_later(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._after()
