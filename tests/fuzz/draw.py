"""Structure out of octets: whoever makes octets, by chance or led by coverage, decides what a target does with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """Takes from octets until there are none, and then zeroes: every input means something."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def octet(self) -> int:
        """The next one."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def below(self, end: int) -> int:
        """A number from 0, below `end`, which is 65,536 at most."""
        return (self.octet() << 8 | self.octet()) % end if end > 256 else self.octet() % end

    def choice(self, of: Sequence[T]) -> T:
        """One of these."""
        return of[self.below(len(of))]

    def piece(self) -> bytes:
        """Some of what is left, 255 octets at most."""
        length = self.octet()
        self._at += length
        return self._data[self._at - length : self._at]

    def words(self) -> list[bytes]:
        """All that is left, divided where a line ends."""
        return [word for word in self.rest().split(b"\n") if word]

    def rest(self) -> bytes:
        """All that is left."""
        at, self._at = self._at, len(self._data)
        return self._data[at:]
