"""Loads the library of the native loop (native_loop.c), which forwards bytes in C, and holds the data shared with it.

The installation compiles the library if it finds a compiler. Without it, or with one of another version, `library` is
None, and the fast path uses its loop in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from mmap import MADV_DONTNEED, MAP_ANONYMOUS, MAP_PRIVATE, mmap
from pathlib import Path
from typing import Any, Final

from echod.fastpath import syscalls
from echod.fastpath.batch import MOST_AT_ONCE, Batch
from echod.fastpath.pipes import Pipe
from echod.model import Transform, identity

ABI: Final = 4  #: of the structures in native_loop.c
FILE: Final = Path(__file__).with_name("libnative_loop.so")
KINDS: Final[dict[Transform, int]] = {identity: 0, bytes.upper: 1}
"""The transforms that the native loop knows, by their numbers there."""


class What(IntEnum):
    """What Python has to do for a descriptor; the numbers are those of native_loop.c."""

    READY = 0  #: serve it: it is not the native loop's, or bytes of another connection had to be kept first
    END = 1  #: the peer has shut down sending, and everything was sent back
    LOST = 2  #: a call failed
    LOST_IN_PIPE = 3  #: the same; the received bytes are in the pipe
    SHORT = 4  #: the kernel accepted only the first `sent` bytes of the reply in the buffer
    SHORT_IN_PIPE = 5  #: the same; the others are in the pipe
    DATAGRAMS = 6  #: reply to the received datagrams in the slots: not all of their sources are known
    FAILED = 7  #: datagrams could not be received
    FULL = 8  #: set the unit of a connection, whose read was full: everything was sent back


Count = Callable[[int, int, int, int], object]
Told = Callable[[int, int, int, int], object]
"""Acts for a connection: its descriptor, a `What`, and the bytes received and sent by the last read."""


def load(file: Path) -> Any:
    """The library as cffi knows it, or None: it is missing, or its structures are those of another version."""
    if syscalls.available and file.exists():
        try:
            library = syscalls.ffi.dlopen(str(file))
            if syscalls.has_all(library, of_loop=True) and library.echod_abi() == ABI:
                return library
        except OSError:  # not a library, or one for another machine
            pass
    return None


library: Final = load(FILE)


class NativeLane:
    """The data that one lane shares with the native loop. `told` acts for the lane when C cannot continue."""

    def __init__(self, kind: int, told: Told) -> None:
        self.told = told
        self._lane = syscalls.ffi.new("struct echod_lane *")
        self._lane.kind = kind
        self.address: Final = int(syscalls.ffi.cast("uintptr_t", self._lane))


class NativeStreamLane(NativeLane):
    """That of a lane for streams. `entries` and `loop` are those of the NativeLoop."""

    def __init__(self, kind: int, told: Told, entries: memoryview, loop: Any) -> None:
        super().__init__(kind, told)
        self._entries = entries
        self.units: Final = entries.cast("B").cast("I")
        self._buffer = syscalls.ffi.buffer(loop.buffer)

    def use_pipe(self, pipe: Pipe) -> None:
        """Use another pipe for large messages. It must be empty."""
        self._lane.pipe_read, self._lane.pipe_write = pipe

    def read_at_most(self, size: int) -> None:
        """Limit reads to `size` bytes from now on."""
        self._lane.most = size

    def begin(self, descriptor: int) -> None:
        """Count a new connection from 0."""
        if (at := WORDS * descriptor) < len(self._entries):
            self._entries[at] = self._entries[at + 2] = 0

    def read_units(self, descriptor: int, unit: int) -> None:
        """Limit each read of a connection to `unit` bytes; with 0, the native loop asks again after a full read."""
        if (at := WORDS * descriptor) < len(self._entries):
            self.units[2 * (at + 2)] = unit

    def carried(self, descriptor: int) -> int:
        """The bytes that the native loop has received on a connection."""
        at = WORDS * descriptor
        return int(self._entries[at]) if at < len(self._entries) else 0

    def rest(self, first: int, behind: int) -> bytes:
        """The bytes of the reply from `first` to `behind`, after SHORT."""
        return bytes(self._buffer[first:behind])


class NativeDatagramLane(NativeLane):
    """That of a lane for datagrams, which are received into the slots of `batch`.

    `count` is called with the datagrams and the bytes that the native loop has received, and those of both whose
    replies the kernel did not accept.
    """

    def __init__(self, kind: int, told: Told, count: Count, batch: Batch) -> None:
        super().__init__(kind, told)
        ffi = syscalls.ffi
        self._count = count
        self._pages = mmap(-1, SOURCES * ffi.sizeof("struct echod_source"), flags=MAP_PRIVATE | MAP_ANONYMOUS)
        self._sources = ffi.from_buffer("struct echod_source[]", self._pages)
        self.udp = self._lane.datagrams = ffi.new("struct echod_datagrams *")
        self.udp.slots, self.udp.sources, self.udp.joinable = batch.slots, self._sources, MOST_AT_ONCE
        self.udp.control_length = batch.pktinfo_space
        self._joined = batch.new_joined()  # cffi frees memory that only C refers to
        self.udp.joined = self._joined[0]
        self.udp.to_at, self.udp.to_length, self.udp.interface_at = batch.pktinfo_layout
        self._counts = memoryview(ffi.buffer(self.udp)).cast("B").cast("Q")[-4:]

    def forget(self) -> None:
        """Let Python decide on every source again."""
        self._pages.madvise(MADV_DONTNEED)  # the pages are zero again, and take no memory

    def flush_counts(self) -> None:
        """Pass on the counts since the last call."""
        counts = self._counts.tolist()
        if counts[0]:
            self._counts[:] = NO_COUNTS
            self._count(*counts)

    def close(self) -> None:
        """Free the memory of the sources. The lane cannot be used afterwards."""
        syscalls.ffi.release(self._sources)
        self._pages.close()


SOURCES: Final = 65_536  #: known sources of a socket: at most 3 MiB, of which only used pages exist
NO_COUNTS: Final = memoryview(bytes(32)).cast("Q")
WORDS: Final = 3  #: of an entry: bytes carried, address of the lane; and in halves: bytes of a read, the last was large
