"""The offers of a client in its ClientHello (RFC 8446 4.1.2), for a server that has no TLS object yet. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

TLS10, TLS11, TLS12 = 0x0301, 0x0302, 0x0303
OLD_SUITES: Final = (0xC00A, 0xC009, 0xC014, 0xC013, 0x0039, 0x0033, 0x0035, 0x002F, 0x000A)
"""Suites that TLS 1.0 has, with AES-CBC or 3DES and SHA-1 (RFC 4492, RFC 5246)."""
_HEADERS: Final = 5 + 4  #: bytes of the record's header, and of the message's
_RANDOM: Final = 32
_SERVER_NAME: Final = 0  #: RFC 6066 3
_SUPPORTED_GROUPS: Final = 10  #: RFC 8446 4.2.7
_SUPPORTED_VERSIONS: Final = 43  #: RFC 8446 4.2.1
_KEY_SHARE: Final = 51  #: RFC 8446 4.2.8


@dataclass
class ClientHello:
    """The offers of a client."""

    version: int = 0  #: of the message: at most TLS 1.2
    versions: list[int] = field(default_factory=list)  #: of its extension
    suites: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)  #: groups with a key
    groups: list[int] = field(default_factory=list)  #: supported groups
    server_name: str | None = None  #: in ASCII

    @property
    def exchange_groups(self) -> list[int]:
        """The groups that the client can use: first those with a key, then the others."""
        return list(dict.fromkeys(self.keys + self.groups))

    @property
    def offers_old_versions(self) -> bool:
        """Whether a server that knows only TLS 1.0 and 1.1 may continue."""
        if self.versions:
            return TLS10 in self.versions or TLS11 in self.versions
        return self.version >= TLS10 and any(suite in OLD_SUITES for suite in self.suites)


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


def client_hello(record: bytes) -> ClientHello | None:
    """Read a ClientHello. `record` is the first one of the connection; None if it is incomplete or malformed."""
    found = ClientHello()
    try:
        hello = _Reader(record[_HEADERS - 3 :]).vector(3)
        found.version = hello.number()
        hello.take(_RANDOM)
        hello.vector(1)  # session ID
        found.suites = _numbers(hello.vector(2))
        hello.vector(1)  # compression methods
        extensions = hello.vector(2) if hello else _Reader(b"")
        while extensions:
            kind, content = extensions.number(), extensions.vector(2)
            if kind == _SUPPORTED_GROUPS:
                found.groups = _numbers(content.vector(2))
            elif kind == _SUPPORTED_VERSIONS:
                found.versions = _numbers(content.vector(1))
            elif kind == _SERVER_NAME:
                names = content.vector(2)
                names.take(1)  # the type: a host name
                name = names.vector(2).data
                found.server_name = name.decode("ascii") if name.isascii() else None
            elif kind == _KEY_SHARE:
                shares = content.vector(2)
                while shares:
                    found.keys.append(shares.number())
                    shares.vector(2)
    except ValueError:
        return None
    return found


def _numbers(vector: _Reader) -> list[int]:
    numbers = []
    while vector:
        numbers.append(vector.number())
    return numbers
