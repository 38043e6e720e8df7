"""Structure from bytes: the source of the bytes, random or guided by coverage, controls what a target does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """Draws from bytes until none are left, and then zeroes: every input is valid."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """The next byte."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def below(self, end: int) -> int:
        """A number from 0 to below `end`, which is at most 65,536."""
        return (self.byte() << 8 | self.byte()) % end if end > 256 else self.byte() % end

    def choice(self, of: Sequence[T]) -> T:
        """One of these values."""
        return of[self.below(len(of))]

    def piece(self) -> bytes:
        """Some of the remaining bytes, at most 255."""
        length = self.byte()
        self._at += length
        return self._data[self._at - length : self._at]

    def words(self) -> list[bytes]:
        """All remaining bytes, divided after line ends."""
        return [word for word in self.rest().split(b"\n") if word]

    def rest(self) -> bytes:
        """All remaining bytes."""
        at, self._at = self._at, len(self._data)
        return self._data[at:]
