"""The bytes that `bin` sends by itself: printable lines, which show where a part is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

PIECE: Final = 65_536  #: bytes that are sent at once
PATTERN: Final = bytes(range(0x20, 0x7F)) + b"\n"  #: repeated


def pattern(size: int) -> Iterator[bytes]:
    """`size` bytes, in pieces."""
    ring = PATTERN * (PIECE // len(PATTERN) + 2)
    for at in range(0, size, PIECE):
        begin = at % len(PATTERN)
        yield ring[begin : begin + min(PIECE, size - at)]
