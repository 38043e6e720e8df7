"""Loads the native helper (native_helper.c), a library that forwards bytes in C, and holds the data shared with it.

The installation compiles the library if it finds a compiler. Without it, or with one of another version, `library` is
None, and the fast path uses its loop in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from echod.fastpath import syscalls
from echod.fastpath.pipes import Pipe
from echod.model import Transform, identity

ABI: Final = 1  #: of the structures in native_helper.c
FILE: Final = Path(__file__).with_name("libnative_helper.so")
KINDS: Final[dict[Transform, int]] = {identity: 0, bytes.upper: 1}
"""The transforms that the helper knows, by their numbers there."""


class What(IntEnum):
    """What Python has to do for a descriptor; the numbers are those of native_helper.c."""

    READY = 0  #: serve it: it is not the helper's, or bytes of another connection had to be kept first
    END = 1  #: the peer has shut down sending, and everything was sent back
    LOST = 2  #: a call failed
    LOST_IN_PIPE = 3  #: the same; the received bytes are in the pipe
    SHORT = 4  #: the kernel accepted only the first `sent` bytes of the reply in the buffer
    SHORT_IN_PIPE = 5  #: the same; the others are in the pipe


Told = Callable[[int, int, int, int], object]
"""Acts for a connection: its descriptor, a `What`, and the bytes received and sent by the last read."""


def load(file: Path) -> Any:
    """The library as cffi knows it, or None: it is missing, or its structures are those of another version."""
    if syscalls.available and file.exists():
        try:
            library = syscalls.ffi.dlopen(str(file))
            if syscalls.has_all(library, of_helper=True) and library.echod_abi() == ABI:
                return library
        except OSError:  # not a library, or one for another machine
            pass
    return None


library: Final = load(FILE)


class StreamHelper:
    """The data that one lane shares with the helper. `entries` and `loop` are those of the NativeLoop."""

    def __init__(self, kind: int, told: Told, entries: memoryview, loop: Any) -> None:
        self.told = told
        self._lane = syscalls.ffi.new("struct echod_lane *")
        self._lane.kind = kind
        self.address: Final = int(syscalls.ffi.cast("uintptr_t", self._lane))
        self._entries = entries
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
            self._entries[at] = 0

    def carried(self, descriptor: int) -> int:
        """The bytes that the helper has received on a connection."""
        at = WORDS * descriptor
        return int(self._entries[at]) if at < len(self._entries) else 0

    def rest(self, first: int, behind: int) -> bytes:
        """The bytes of the reply from `first` to `behind`, after SHORT."""
        return bytes(self._buffer[first:behind])


WORDS: Final = 3  #: of an entry: the bytes carried, the address of the lane, whether the last read was large
