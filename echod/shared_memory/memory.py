"""The memory that the processes of one daemon share: numbers in columns, one column for each process.

A process writes only its own column, and reads those of others. Therefore the memory needs no locks. Each number is a
signed integer of 64 bits at an aligned address: the processor reads and writes it whole. The parent has column 0. It
assigns a column to each worker before it starts the worker, and releases the column after the worker has ended.

Three kinds of numbers exist:

* a *gauge* (`Row`) is one number of each process, such as its unsent bytes; the sum is that of the daemon;
* a *meter* (`Meter`) only grows, and has CELLS cells. A key, such as a network, uses the cell of its hash. Keys with
  one cell count together. The hash depends on the secret of the daemon, so a client cannot choose its cell;
* a *table* (`Table`) has numbers by key, such as the connections of a client. Keys are hashes as well.

The pages of the memory exist from the first use on: a daemon without clients uses a few of them.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
from collections.abc import Iterator
from enum import IntEnum
from hashlib import blake2b
from typing import Final

MAGIC: Final = 0x6563686F643031  #: "echod01": another layout has another number
CELLS: Final = 32_768  #: of a meter: with 1,000 busy networks, another one shares a cell with a probability of 3 %
SETS: Final = 8_192  #: of a table …
WAYS: Final = 8  #: … with this many places each: 65,536 keys of each process
PARENT: Final = 0  #: the column of the parent
_HEADER: Final = 512  #: words: the magic number, the number of columns, the secret, and which columns are in use
_SECRET: Final = 32  #: bytes
_SET: Final = 2 * WAYS  #: words of a set: first the values, then the keys
_SET_FORMAT: Final = struct.Struct(f"{_SET}q")
MOST_COLUMNS: Final = 256


class Row(IntEnum):
    """The gauges: one number of each process."""

    IN_USE = 0  #: 1 if the column is assigned
    UNSENT = 1  #: bytes that wait to be sent
    HANDSHAKES = 2  #: unfinished handshakes
    REPLIES = 3  #: datagrams that were admitted, in all: only grows
    REPLY_BYTES = 4  #: their bytes: only grows
    MISSED = 5  #: lines that outboxes dropped: only grows
    ENDED = 6  #: readers that were disconnected: only grows


class Meter(IntEnum):
    """The meters."""

    REPLIES = 0  #: admitted datagrams of a network
    REPLY_BYTES = 1  #: their bytes
    CONNECTIONS = 2  #: new connections of a client
    CHALLENGES = 3  #: challenges to an address
    OUTPUT = 4  #: bytes that datagram members of a network receive


class Table(IntEnum):
    """The tables."""

    SLOTS = 0  #: open connections by client
    COUNTERS = 1  #: counters of listeners: they only grow
    OPEN = 2  #: open connections by service and by listener
    CONSENTS = 3  #: when the consents of datagram members end, in milliseconds of the monotonic clock


_KEEP: Final = (Row.REPLIES, Row.REPLY_BYTES)  #: of a released column: other processes compare them with earlier values
_MOVE: Final = (Row.MISSED, Row.ENDED)  #: of a released column: they continue in the column of the parent


class SharedMemory:
    """The memory of a daemon, by the descriptor of a memory file. It must have been made by `create`.

    `create` makes it in the parent. A worker inherits `descriptor`, and opens it by `SharedMemory(descriptor)`, which
    raises ValueError if the descriptor is another file.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        size = os.fstat(descriptor).st_size
        if size < _HEADER * 8:
            raise ValueError(f"descriptor {descriptor} has {size} bytes; expected the shared memory of echod")
        self._map = mmap.mmap(descriptor, size)
        self.words = memoryview(self._map).cast("q")
        self.columns = self.words[1]
        if self.words[0] != MAGIC or size != _size(self.columns):
            raise ValueError(f"descriptor {descriptor} is not the shared memory of this version of echod")
        self._row = struct.Struct(f"{self.columns}q")
        self.secret = bytes(self._map[16 : 16 + _SECRET])  #: for address cookies and hashes; random

    @classmethod
    def create(cls, workers: int) -> SharedMemory:
        """The memory for a parent and this many workers. Raises OSError.

        Each worker, and one spare, may run beside its successor for a while: so there are two columns for each.
        """
        columns = 1 + 2 * (workers + 1)
        if columns > MOST_COLUMNS:
            raise ValueError(f"{workers} workers are too many; the maximum is {MOST_COLUMNS // 2 - 2}")
        descriptor = os.memfd_create("echod", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, _size(columns))
        except OSError:
            os.close(descriptor)
            raise
        # A worker that could shrink the file could end all other processes with SIGBUS.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        os.pwrite(descriptor, struct.pack("qq", MAGIC, columns) + secrets.token_bytes(_SECRET), 0)
        memory = cls(descriptor)
        memory.words[memory.row_start(Row.IN_USE) + PARENT] = 1
        return memory

    def assign(self) -> int:
        """A column for a new worker: call it in the parent. Raises RuntimeError if all columns are in use."""
        first = self.row_start(Row.IN_USE)
        for column in range(1, self.columns):
            if not self.words[first + column]:
                self.words[first + column] = 1
                return column
        raise RuntimeError(f"all {self.columns} columns of the shared memory are in use")

    def release(self, column: int, now: int = 0) -> None:
        """Free the column of a worker that has ended: call it in the parent.

        Its slots, handshakes and unsent bytes are free at once. Its counters, and the consents of its members, continue
        in the column of the parent. `now` is in milliseconds: consents that end later are kept.
        """
        for row in Row:
            if row in _KEEP:
                continue
            at = self.row_start(row)
            if row in _MOVE:
                self.words[at + PARENT] += self.words[at + column]
            self.words[at + column] = 0
        for table in Table:
            kept = Keys(self, table, PARENT)
            kept.least = now if table is Table.CONSENTS else 0
            for at, values, keys in self.used_sets(table, column):
                for key, value in zip(keys, values, strict=True):
                    if value and table is Table.COUNTERS:
                        kept.add(key, value)
                    elif value > now and table is Table.CONSENTS:
                        kept.set(key, value)
                for word in range(at, at + _SET):
                    self.words[word] = 0

    def in_use(self) -> tuple[int, ...]:
        """The columns that are in use, and that of the parent."""
        return tuple(column for column, used in enumerate(self.row(self.row_start(Row.IN_USE))) if used)

    def row(self, at: int) -> tuple[int, ...]:
        """The numbers of all processes in the row that begins at this word."""
        row: tuple[int, ...] = self._row.unpack_from(self._map, at * 8)
        return row

    def row_start(self, row: Row) -> int:
        """The word of a gauge's first column."""
        return _HEADER + row * self.columns

    def cell_start(self, meter: Meter, cell: int) -> int:
        """The word of the first column of a cell, which has a number from 0 to CELLS - 1."""
        return _HEADER + (len(Row) + meter * CELLS + cell) * self.columns

    def set_start(self, table: Table, column: int, key: int) -> int:
        """The word of a key's set in the table of one process."""
        return _tables_start(self.columns) + ((table * self.columns + column) * SETS + key % SETS) * _SET

    def set_of(self, at: int) -> tuple[int, ...]:
        """The words of the set that begins at this word."""
        return _SET_FORMAT.unpack_from(self._map, at * 8)

    def hash_of(self, *parts: bytes) -> int:
        """The hash of a key, in 64 bits and not 0. Parts are distinguished: those of ("ab",) and ("a", "b") differ."""
        digest = blake2b(digest_size=8, key=self.secret)
        for part in parts:
            digest.update(len(part).to_bytes(4, "big") + part)
        return int.from_bytes(digest.digest(), "big", signed=True) or 1

    def used_sets(self, table: Table, column: int) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...]]]:
        """The sets of a process that have a key: the first word, values and keys.

        They are read by pread(2), because reading through the map would create the pages that were never used.
        """
        at = self.set_start(table, column, 0)
        data = os.pread(self.descriptor, SETS * _SET * 8, at * 8)
        empty = bytes(_SET * 8)
        for number in range(SETS):
            if data[number * _SET * 8 : (number + 1) * _SET * 8] != empty:
                words = _SET_FORMAT.unpack_from(data, number * _SET * 8)
                yield at + number * _SET, words[:WAYS], words[WAYS:]


class Keys:
    """A table of numbers by key, as one process sees it. Keys are from `SharedMemory.hash_of`.

    A number up to `least` counts as 0: its place can be used for another key.
    """

    least = 0

    def __init__(self, memory: SharedMemory, table: Table, column: int) -> None:
        self._memory = memory
        self._table = table
        self._column = column

    def set(self, key: int, value: int) -> bool:
        """Set the number of this process. False: its place is taken, and other processes do not see the number."""
        memory = self._memory
        at = memory.set_start(self._table, self._column, key)
        words = memory.set_of(at)
        values, keys = words[:WAYS], words[WAYS:]
        if key in keys:
            way = keys.index(key)
        elif not value:
            return True
        else:
            way = next((way for way, other in enumerate(values) if other <= self.least), -1)
            if way < 0:
                return False
            memory.words[at + way] = 0
            memory.words[at + WAYS + way] = key
        memory.words[at + way] = value  # after the key: other processes read the value first
        return True

    def add(self, key: int, by: int) -> bool:
        """Add to the number of this process; as `set`."""
        return self.set(key, self.of(self._column, key) + by)

    def of(self, column: int, key: int) -> int:
        """The number of one process; 0 if it has none."""
        memory = self._memory
        words = memory.set_of(memory.set_start(self._table, column, key))
        return words[words.index(key, WAYS) - WAYS] if key in words[WAYS:] else 0

    def most(self, key: int) -> int:
        """The largest number of any process."""
        return max(self.of(column, key) for column in self._memory.in_use())

    def elsewhere(self, key: int) -> int:
        """The sum of all other processes."""
        return sum(self.of(column, key) for column in self._memory.in_use() if column != self._column)


def _tables_start(columns: int) -> int:
    """The word of the first table: after all rows, at the start of a page."""
    words = _HEADER + (len(Row) + len(Meter) * CELLS) * columns
    return -(-words // 512) * 512


def _size(columns: int) -> int:
    return (_tables_start(columns) + len(Table) * columns * SETS * _SET) * 8
