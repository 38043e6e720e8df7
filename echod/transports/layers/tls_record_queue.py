"""Received TLS records (RFC 8446 5.1) that OpenSSL has not got yet, and what they cost. Only headers are read here.

A turn of the event loop must not handle thousands of small records: a read may hold 2,900 of them. The worst are
requests for new keys (KeyUpdate), which carry no data, and each of which is answered. Pure.
"""

from __future__ import annotations

from typing import Final

from echod.gate.work_budget import Portion, WorkBudget

RECORD: Final = 16_384  #: bytes of plaintext in a record at most (RFC 8446 5.1)
HEADER: Final = 5  #: bytes of a record's type, version and length
CLIENT_HELLO: Final = b"\x16\x03"  #: the start of its record: type handshake, and the major version
READ: Final = HEADER + RECORD + 256  #: bytes of a whole record at most (RFC 8446 5.2)
AT_ONCE: Final = 32
"""Records that OpenSSL gets at once: a call for data handles every message of the protocol before the data, and a
request for new keys takes 30 µs."""
FREE: Final = 32  #: records of one read that cost no units, so that a usual read does not start a turn of the budget
DATA_UNITS: Final = 2  #: units for one more record
OTHER_UNITS: Final = 16  #: units more for a record without data


def is_not_a_hello(first: bytes) -> bool:
    """Whether the first bytes, up to 6, cannot be those of a ClientHello."""
    return not first.startswith(CLIENT_HELLO[: len(first)]) or (
        len(first) == 6 and (first[5] != 1 or int.from_bytes(first[3:5], "big") > RECORD)
    )


class RecordQueue:
    """A queue of bytes, which may be cut anywhere. `begun` is the number of records that begin in the last piece."""

    __slots__ = ("_data", "_left", "begun")

    def __init__(self) -> None:
        self._data: bytes | memoryview = b""
        self._left = 0  # bytes until the end of a record that has begun
        self.begun = 0

    def __len__(self) -> int:
        return len(self._data)

    @property
    def has_piece(self) -> bool:
        """Whether `take` would return bytes."""
        return len(self._data) >= (1 if self._left else HEADER)

    @property
    def has_record(self) -> bool:
        """Whether the queue begins with a whole record. Nothing may have been taken yet."""
        return len(self._data) >= HEADER + int.from_bytes(self._data[3:HEADER], "big") > HEADER

    def is_whole(self, data: bytes) -> bool:
        """Whether received bytes are one whole record, and nothing is queued: then it needs no queue."""
        return (
            not self._data
            and not self._left
            and len(data) >= HEADER
            and int.from_bytes(data[3:HEADER], "big") == len(data) - HEADER
        )

    def add(self, data: bytes) -> None:
        """Add received bytes."""
        self._data = bytes(self._data) + data if self._data else data

    def put_back(self, data: bytes) -> None:
        """Put bytes before the others again. They begin with a record."""
        self._data, self._left = data + bytes(self._data), 0

    def first(self, size: int) -> bytes:
        """A copy of the first bytes."""
        return bytes(self._data[:size])

    def take(self) -> bytes | memoryview:
        """Remove at most READ bytes of at most AT_ONCE records. It is empty if there is only a part of a header."""
        data, at, size, begun = memoryview(self._data), self._left, len(self._data), 0
        while begun < AT_ONCE and at < READ and at + HEADER <= size:
            at += HEADER + int.from_bytes(data[at + 3 : at + HEADER], "big")
            begun += 1
        end = min(at, size, READ)
        self._left, self.begun = at - end, begun
        rest = data[end:]  # a part of a header must not keep the whole read
        self._data = rest if size - end >= HEADER else bytes(rest)
        return data[:end]

    def clear(self) -> None:
        """Drop everything."""
        self._data = b""


class RecordCost:
    """The units of the work budget that the records of one connection cost, after FREE records of a read."""

    __slots__ = ("_portion", "_records", "_without_data", "_work")

    def __init__(self, work: WorkBudget) -> None:
        self._work = work
        self._records = 0  # of this read
        self._without_data = 0  # of the last piece
        self._portion: Portion | None = None

    def begin_read(self) -> None:
        """Begin a read, with FREE records."""
        self._records, self._portion = 0, None

    def begin_portion(self) -> None:
        """Take a new portion of the work budget for the rest of a read."""
        self._portion = None

    def permits_more(self) -> bool:
        """Whether more records may be handled in this turn."""
        if self._records < FREE:
            return True
        if self._portion is None:
            self._portion = self._work.portion()
        self._portion.spend(OTHER_UNITS * max(0, self._without_data))
        self._without_data = 0
        return self._portion.take()

    def count(self, records: int, with_data: int) -> None:
        """Count the records that begin in a piece, and those that have given data after it."""
        self._records += records
        self._without_data = records - with_data
        if self._portion is not None:
            self._portion.spend(DATA_UNITS * records)
