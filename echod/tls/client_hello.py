"""The key exchange groups of a ClientHello (RFC 8446 4.1.2), for a server that has no TLS object yet. Pure."""

from __future__ import annotations

from typing import Final

_HEADERS: Final = 5 + 4  #: bytes of the record's header, and of the message's
_VERSION_AND_RANDOM: Final = 34
_SUPPORTED_GROUPS: Final = 10  #: RFC 8446 4.2.7
_KEY_SHARE: Final = 51  #: RFC 8446 4.2.8


class _Reader:
    """Reads numbers and vectors in network byte order. Raises ValueError at the end of the data."""

    def __init__(self, data: bytes) -> None:
        self.data, self._at = data, 0

    def take(self, size: int) -> bytes:
        taken = self.data[self._at : self._at + size]
        if len(taken) < size:
            raise ValueError
        self._at += size
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def vector(self, size: int) -> _Reader:
        """A vector whose length has `size` bytes."""
        return _Reader(self.take(int.from_bytes(self.take(size), "big")))

    def __bool__(self) -> bool:
        return self._at < len(self.data)


def key_exchange_groups(record: bytes) -> list[int]:
    """The groups that a client can use: first those with a key in its hello, then the others.

    `record` is the first record of the connection. The list is empty if it has not the whole hello, or is malformed.
    """
    keys: list[int] = []
    supported: list[int] = []
    try:
        hello = _Reader(record[_HEADERS - 3 :]).vector(3)
        hello.take(_VERSION_AND_RANDOM)
        for size in (1, 2, 1):  # session ID, cipher suites, compression methods
            hello.vector(size)
        extensions = hello.vector(2)
        while extensions:
            kind, content = extensions.number(), extensions.vector(2)
            if kind == _SUPPORTED_GROUPS:
                groups = content.vector(2)
                while groups:
                    supported.append(groups.number())
            elif kind == _KEY_SHARE:
                shares = content.vector(2)
                while shares:
                    keys.append(shares.number())
                    shares.vector(2)
    except ValueError:
        return []
    return [*keys, *(group for group in supported if group not in keys)]
