"""The pipes for splice(2): one shared by all connections of a listener, and one for each connection that blocks.

Bytes are spliced from a socket into a pipe, and from there into a socket. While all of them are sent at once, one pipe
serves every connection. Bytes that cannot be sent stay in the pipe, which then belongs to that connection until it is
empty. The number of such pipes is bounded; above it, pending bytes are read into memory.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from typing import Final

from echod.fastpath import syscalls

STUCK: Final = 256
"""Maximum pipes of a listener that hold pending bytes. With 64 KiB each they take 16 MiB of the 64 MiB that the kernel
allows an unprivileged user (pipe-user-pages-soft). Above that limit pipes are small or cannot be created."""
SPARE: Final = 16  #: empty pipes that are kept for reuse
CAPACITY: Final = 65_536  #: minimum bytes, if the kernel allows it

Pipe = tuple[int, int]  # read end, write end


class Waiting:
    """Pending output of one connection: the last `left` bytes of its own pipe, or of `data`.

    `whole` is the initial number of bytes. At most `counted` of them are bytes of the reply; the others are those of
    the protocol below it.
    """

    __slots__ = ("_counted", "data", "left", "pipe", "whole")

    def __init__(self, left: int, pipe: Pipe | None, data: memoryview | None, counted: int | None = None) -> None:
        self.left = self.whole = left
        self._counted = left if counted is None else counted
        self.pipe = pipe
        self.data = data

    @property
    def unsent(self) -> int:
        """Upper bound of the bytes of the reply that are unsent; exact without another protocol."""
        return min(self.left, self._counted)

    def send(self, descriptor: int) -> None:
        """Send as much as the socket accepts. Raises OSError."""
        if self.pipe is not None:
            self.left -= os.splice(self.pipe[0], descriptor, self.left)
        elif self.data is not None:
            self.left -= os.write(descriptor, self.data[-self.left :])

    def content(self) -> bytes:
        """The pending bytes; the pipe is empty afterwards."""
        return _read(self.pipe[0], self.left) if self.pipe is not None else bytes(self.data or b"")[-self.left :]


class Pipes:
    """The pipes of one listener. `renewed` is called with the shared pipe whenever it changes.

    Pipes hold pending bytes only on descriptors below `below`. The kernel uses the lowest free number, so the number
    shows how many descriptors are in use; higher numbers are reserved for connections.
    """

    def __init__(self, size: int, renewed: Callable[[Pipe], None], below: int = sys.maxsize) -> None:
        self._size = max(size, CAPACITY)
        self._renewed = renewed
        self._below = below
        self._spare: list[Pipe] = []
        self._stuck = 0
        self._current = self._open()
        renewed(self._current)

    def keep(self, left: int) -> Waiting:
        """Keep the last `left` bytes of the shared pipe as pending output of a connection."""
        if self._stuck < STUCK and self._has_spare():
            waiting = Waiting(left, self._current, None)
            self._replace()
            self._stuck += 1
            return waiting
        return Waiting(left, None, memoryview(_read(self._current[0], left)))

    def _has_spare(self) -> bool:
        """Whether another pipe is available; otherwise pending bytes are kept in memory."""
        if self._spare:
            return True
        try:
            pipe = self._open()
        except OSError:  # no free descriptor, or no memory
            return False
        if max(pipe) >= self._below:
            _close(pipe)
            return False
        self._spare.append(pipe)
        return True

    def empty(self, left: int) -> None:
        """Drop the last `left` bytes of the shared pipe."""
        _read(self._current[0], left)

    def renew(self) -> None:
        """Replace the shared pipe after an error: its content is unknown and must not reach another connection."""
        _close(self._current)
        self._replace()

    def give_back(self, waiting: Waiting) -> None:
        """Reuse or close the pipe of pending output that has been sent."""
        if waiting.pipe is not None:
            self._stuck -= 1
            if len(self._spare) < SPARE:
                self._spare.append(waiting.pipe)
            else:
                _close(waiting.pipe)

    def drop(self, waiting: Waiting) -> None:
        """Close the pipe of pending output that will not be sent."""
        if waiting.pipe is not None:
            self._stuck -= 1
            _close(waiting.pipe)

    def close(self) -> None:
        """Close all pipes. No connection may have pending output."""
        for pipe in (self._current, *self._spare):
            _close(pipe)
        self._spare.clear()

    def _replace(self) -> None:
        self._current = self._spare.pop() if self._spare else self._open()
        self._renewed(self._current)

    def _open(self) -> Pipe:
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(pipe[0], syscalls.F_SETPIPE_SZ, self._size)
        except OSError:  # above the limit of this user: keep the default size
            pass
        return pipe


def _read(descriptor: int, length: int) -> bytes:
    parts = []
    while length:
        parts.append(os.read(descriptor, length))
        length -= len(parts[-1])
    return b"".join(parts)


def _close(pipe: Pipe) -> None:
    os.close(pipe[0])
    os.close(pipe[1])
