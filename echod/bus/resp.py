"""RESP3, the protocol of Redis and Valkey: commands out, replies in (https://redis.io/docs/latest/develop/reference/protocol-spec/).

RESP3 carries commands and published messages over one connection (HELLO 3; Redis 6 or newer, and Valkey), so one sign
of life covers both. Only the types that a server sends to AUTH, HELLO, SUBSCRIBE and PUBLISH are decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

LINE: Final = 4096  #: bytes of the longest line: errors are shorter
ITEMS: Final = 256  #: items of the largest array, map or push
TOTAL: Final = 1024  #: items of a reply with all its levels; an incomplete reply is read again when more bytes arrive
DEPTH: Final = 4  #: of arrays in arrays


class WrongReply(ValueError):
    """The bytes are not RESP3, or exceed a limit; the message gives the reason."""


class ErrorReply(Exception):
    """An error of the server, as it was sent."""


class Push(list[Any]):
    """A message that is not a reply: its kind, such as b"message", and its fields."""


def command(*words: bytes) -> bytes:
    """The bytes of a command."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class Decoder:
    """Splits received bytes into replies. It holds at most one incomplete reply of `largest` bytes, and what was added
    last."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._data = bytearray()
        self._at = 0
        self._items = 0  # of the reply that is being read

    def add(self, data: bytes) -> None:
        """Add received bytes. Raises WrongReply if a reply is too large."""
        del self._data[: self._at]
        self._at = 0
        self._data += data
        if len(self._data) > 2 * self._largest + len(data):
            raise WrongReply(f"a reply of more than {self._largest} bytes")

    def replies(self) -> Iterator[Any]:
        """The complete replies: bytes, text of a status, int, None, bool, ErrorReply, list, dict or Push.

        Raises WrongReply.
        """
        self._items = 0
        while (found := self._parse(self._at, 0)) is not None:
            self._at, reply = found
            yield reply
            self._items = 0

    def _line(self, at: int) -> tuple[int, bytes] | None:
        end = self._data.find(b"\r\n", at, at + LINE)
        if end < 0:
            if len(self._data) - at > LINE:
                raise WrongReply(f"a line of more than {LINE} bytes")
            return None
        return end + 2, bytes(self._data[at:end])

    def _parse(self, at: int, depth: int) -> tuple[int, Any] | None:
        """The end and the value of the reply that starts here; None if it is incomplete."""
        if (line := self._line(at)) is None:
            return None
        at, text = line
        kind, rest = text[:1], text[1:]
        try:
            if kind in b"$=" and kind:
                return self._bulk(at, int(rest))
            if kind in b"*>%~" and kind:
                return self._array(at, kind, int(rest), depth)
            if kind == b":":
                return at, int(rest)
        except ValueError as error:
            raise error if isinstance(error, WrongReply) else WrongReply(f"a wrong number in {text[:64]!a}") from None
        if kind == b"+":
            return at, rest.decode("utf-8", "replace")
        if kind == b"-":
            return at, ErrorReply(rest.decode("utf-8", "replace"))
        if kind == b"#":
            return at, rest == b"t"
        if kind == b"_":
            return at, None
        raise WrongReply(f"a reply that begins with {text[:64]!a}")

    def _bulk(self, at: int, size: int) -> tuple[int, bytes | None] | None:
        if size == -1:
            return at, None
        if not 0 <= size <= self._largest:
            raise WrongReply(f"a string of {size} bytes; the maximum is {self._largest}")
        end = at + size
        if len(self._data) < end + 2:
            return None
        return end + 2, bytes(self._data[at:end])

    def _array(self, at: int, kind: bytes, count: int, depth: int) -> tuple[int, Any] | None:
        if not -1 <= count <= ITEMS or depth >= DEPTH:
            raise WrongReply(f"an array of {count} items; the maximum is {ITEMS}, in at most {DEPTH} levels")
        items: list[Any] = []
        size = 2 * count if kind == b"%" else count
        self._items += max(size, 0)
        if self._items > TOTAL:
            raise WrongReply(f"a reply of {self._items} items; the maximum is {TOTAL}")
        for _ in range(size):
            if (found := self._parse(at, depth + 1)) is None:
                return None
            at, item = found
            items.append(item)
        if kind == b"%":
            return at, list(zip(items[::2], items[1::2], strict=True))
        return at, Push(items) if kind == b">" else items
