"""Pipes between two ends of a splice: one that everybody uses in turn, and one for each connection that is stuck.

A splice goes from a socket into a pipe and from there into a socket. As long as all of it goes out at once, one
pipe serves every connection. What does not go out stays where it is, and that pipe belongs to its connection
until it is empty. The number of such pipes is bounded; beyond it, what waits is read into memory.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from typing import Final

from echod.fastpath import syscalls

STUCK: Final = 256
"""Pipes that may wait full, of a listener: with 64 KiB each, 16 MiB of the 64 MiB that the kernel lets a user
have without privilege (pipe-user-pages-soft). Beyond that, pipes are small, or there are none: memory will do."""
SPARE: Final = 16  #: empty pipes that are kept for the next who get stuck
CAPACITY: Final = 65_536  #: octets at least, where the kernel grants it

Pipe = tuple[int, int]  # the end to read, the end to write


class Waiting:
    """What waits to go to one connection: the last `left` octets of a pipe of its own, or of `data`.

    `whole` is how many it were at first.
    """

    __slots__ = ("data", "left", "pipe", "whole")

    def __init__(self, left: int, pipe: Pipe | None, data: memoryview | None) -> None:
        self.left = self.whole = left
        self.pipe = pipe
        self.data = data

    def send(self, descriptor: int) -> None:
        """Send what a socket takes of it. Raises OSError."""
        if self.pipe is not None:
            self.left -= os.splice(self.pipe[0], descriptor, self.left)
        elif self.data is not None:
            self.left -= os.write(descriptor, self.data[-self.left :])

    def content(self) -> bytes:
        """All of it; the pipe is empty then."""
        return _read(self.pipe[0], self.left) if self.pipe is not None else bytes(self.data or b"")[-self.left :]


class Pipes:
    """The pipes of one listener; `renewed` hears of the one to use from now on.

    Pipes wait full only on descriptors below `below`. The kernel hands out the lowest that is free, so a number tells
    how many are in use, and those above were promised to connections.
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
        """The last `left` octets in the current pipe wait for a connection."""
        if self._stuck < STUCK and self._has_spare():
            waiting = Waiting(left, self._current, None)
            self._replace()
            self._stuck += 1
            return waiting
        return Waiting(left, None, memoryview(_read(self._current[0], left)))

    def _has_spare(self) -> bool:
        """Whether there is another pipe to go on with; memory will do where there is none."""
        if self._spare:
            return True
        try:
            pipe = self._open()
        except OSError:  # no descriptor, or no page
            return False
        if max(pipe) >= self._below:
            _close(pipe)
            return False
        self._spare.append(pipe)
        return True

    def empty(self, left: int) -> None:
        """The last `left` octets in the current pipe belong to nobody any more."""
        _read(self._current[0], left)

    def renew(self) -> None:
        """Nobody knows what is in the current pipe: nobody may hear it."""
        _close(self._current)
        self._replace()

    def give_back(self, waiting: Waiting) -> None:
        """Everything of it has gone."""
        if waiting.pipe is not None:
            self._stuck -= 1
            if len(self._spare) < SPARE:
                self._spare.append(waiting.pipe)
            else:
                _close(waiting.pipe)

    def drop(self, waiting: Waiting) -> None:
        """It will never go."""
        if waiting.pipe is not None:
            self._stuck -= 1
            _close(waiting.pipe)

    def close(self) -> None:
        """The end: nobody waits."""
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
        except OSError:  # more than this user may have: the kernel's own size will do
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
