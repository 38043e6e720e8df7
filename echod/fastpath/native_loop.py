"""The native loop: C waits, and serves the connections that it can serve; Python does everything else.

      epoll ──► echod_serve ─┬─ entries[descriptor].lane: forward, in C
                             └─ told: ends, errors, short writes, and all other descriptors ──► Python

C goes on until Python has to act: a timer of Twisted, a signal and the reactor's epoll are descriptors here. After
BATCH rounds it returns in any case. Every connection that C serves can also be served by Python, which happens after a
short write in the same round, and for descriptors above the table.
"""

from __future__ import annotations

import errno
import os
import resource
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any, Final

from echod.fastpath import native_library, syscalls
from echod.fastpath.batch import Batch
from echod.fastpath.loop import Events, Loop, Ready, Round
from echod.fastpath.native_library import (
    KINDS,
    WORDS,
    Count,
    NativeDatagramLane,
    NativeLane,
    NativeStreamLane,
    Told,
    What,
)
from echod.model import Transform

BATCH: Final = 64  #: rounds until Python runs in any case
MOST_ENTRIES: Final = 1 << 20  #: of the table. It has one for each permitted descriptor; unused pages take no memory.
_BYTES: Final = 8 * WORDS


class NativeLoop(Loop):
    """A Loop whose waits and forwarding are in C. `library` is that of `native_library`. Raises OSError."""

    is_native = True

    def __init__(self, reactor: Any, library: Any = native_library.library) -> None:
        super().__init__(reactor)
        self._library = library
        self._serve = library.echod_serve
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        size = MOST_ENTRIES if limit == resource.RLIM_INFINITY else min(limit, MOST_ENTRIES)
        pages = mmap(-1, size * _BYTES, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        self._entries = memoryview(pages).cast("Q")
        ffi = syscalls.ffi
        self._table = ffi.from_buffer("struct echod_entry[]", pages)
        self._shared = ffi.new("struct echod_loop *", {"epoll": self._epoll.fileno(), "size": size})
        self._shared.entries = self._table
        self._told = memoryview(ffi.buffer(self._shared.told)).cast("B").cast("i")
        at = ffi.offsetof("struct echod_loop", "counted")
        self._counted = memoryview(ffi.buffer(self._shared)).cast("B")[at : at + 4].cast("I")
        self._native_lanes: list[NativeLane | None] = []  # by descriptor
        self._native_datagram_lanes: list[NativeDatagramLane] = []
        self._poll = self._serve_natively

    def native_stream_lane(self, transform: Transform, told: Told) -> NativeStreamLane | None:
        """The data that a lane shares with C; None if only Python knows its transform."""
        kind = KINDS.get(transform)
        return None if kind is None else NativeStreamLane(kind, told, self._entries, self._shared)

    def native_datagram_lane(
        self, transform: Transform, told: Told, count: Count, batch: Batch
    ) -> NativeDatagramLane | None:
        """The same for datagrams. `count` is called before any other code of Python can read the counters."""
        kind = KINDS.get(transform)
        if kind is None:
            return None
        native = NativeDatagramLane(kind, told, count, batch)
        self._native_datagram_lanes.append(native)
        return native

    def remember(self, native: NativeDatagramLane, count: int) -> None:
        """Let the native loop reply to the sources of the first `count` slots; the gate must admit them always."""
        self._library.echod_remember(native.udp, count)

    def drop(self, native: NativeDatagramLane) -> None:
        """Free the data of a lane that has ended."""
        self._native_datagram_lanes.remove(native)
        native.close()

    def watch(
        self,
        descriptor: int,
        events: int,
        ready: Ready,
        all_ready: Round | None = None,
        native: NativeLane | None = None,
    ) -> None:
        """As Loop.watch. With `native`, C serves the descriptor."""
        while descriptor >= len(self._native_lanes):
            self._native_lanes.append(None)
        self._enter(descriptor, native)
        super().watch(descriptor, events, ready, all_ready)

    def change(
        self,
        descriptor: int,
        events: int,
        ready: Ready,
        all_ready: Round | None = None,
        native: NativeLane | None = None,
    ) -> None:
        """As Loop.change and `watch`."""
        self._enter(descriptor, native)
        super().change(descriptor, events, ready, all_ready)

    def _clear(self, descriptor: int) -> None:
        self._enter(descriptor, None)
        super()._clear(descriptor)

    def _enter(self, descriptor: int, native: NativeLane | None) -> None:
        self._native_lanes[descriptor] = native
        at = WORDS * descriptor
        if at < len(self._entries):
            self._entries[at + 1] = 0 if native is None else native.address

    def _serve_natively(self, timeout: float | None, _most: int) -> Events:
        """Wait and serve, and act for connections that C cannot continue. Returns the other descriptors."""
        wait, rounds = (-1, BATCH) if timeout is None else (0, 1)
        count = self._serve(self._shared, wait, rounds)
        if self._counted[0]:
            self._counted[0] = 0
            for native in self._native_datagram_lanes:
                native.flush_counts()
        if count < 0:
            if count != -errno.EINTR:  # a signal: Python runs its handler now
                raise OSError(-count, os.strerror(-count))
            return []
        found: Events = []
        told = iter(self._told[: 4 * count].tolist())
        for descriptor, what, received, sent in zip(told, told, told, told, strict=True):
            if what == What.READY:
                found.append((descriptor, received))
                continue
            serves = self._native_lanes[descriptor]
            try:
                assert serves is not None
                serves.told(descriptor, what, received, sent)
            except Exception:  # a bug: the others must be served
                self.give_up(descriptor)
        return found
