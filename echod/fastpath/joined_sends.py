"""Joined sends: one for each source of a batch, which the kernel splits again (UDP_SEGMENT).

      slots     A B A C B A
      groups    A: 0 2 5    B: 1 4    C: 3      one msghdr each, all in one sendmmsg

The order within a source is kept. Datagrams of different sources have no defined order.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Final

from echod.fastpath import syscalls
from echod.fastpath.batch import MOST_AT_ONCE, MSG_DONTWAIT, SLOTS, Batch

WORTHWHILE: Final = 3  #: datagrams per source, on average, from which joined sends cost less than single ones
NEVER_JOINED: Final = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.EOPNOTSUPP})
"""Errors of a joined send if the link takes no datagram of that size whole, or the kernel no such send at all. A full
buffer (EAGAIN, ENOBUFS) is a passing error."""

_HEADER_64: Final = 8  # a mmsghdr in 64-bit words: 0 the name, 2 the parts, 3 their count
_PART: Final = 16  # bytes of an iovec: its base and its length


class JoinedSends:
    """The headers and parts of joined sends. The data, the names and the control message are those of `batch`."""

    def __init__(self, batch: Batch) -> None:
        ffi = syscalls.ffi
        self._batch = batch
        self._up_to = MOST_AT_ONCE  # bytes of a datagram that may be joined
        self._parts = ffi.new("struct iovec[]", SLOTS)
        self._headers = ffi.new("struct mmsghdr[]", SLOTS)
        for slot in range(SLOTS):
            header = self._headers[slot].header
            header.name_length = batch.name_length
            header.control, header.control_length = batch.segment_control, batch.segment_space
        self._headers_64 = memoryview(ffi.buffer(self._headers)).cast("B").cast("Q")
        self._parts_64 = memoryview(ffi.buffer(self._parts)).cast("B").cast("Q")
        self._first_part = int(ffi.cast("uintptr_t", self._parts))
        self._names = [int(ffi.cast("uintptr_t", batch.slots[slot].header.name)) for slot in range(SLOTS)]
        self._bases = [int(ffi.cast("uintptr_t", batch.slots[slot].header.parts.base)) for slot in range(SLOTS)]
        self._size = 0  # the length of all parts

    def send(self, descriptor: int, lengths: list[int], sources: Sequence[bytes]) -> Sequence[int]:
        """Send the first slots, one for each of `lengths`, if joining is possible and costs less; returns those left.

        `sources` are the names of these slots, or empty if all have one name.
        """
        count, size = len(lengths), lengths[0]
        every = range(count)
        if not (count > 1 and 0 < size <= self._up_to and lengths.count(size) == count):
            return every
        groups = _by_source(sources)
        most = max(map(len, groups)) if groups else count
        if (sources and not groups) or most * size > MOST_AT_ONCE or not self._batch.asked_alike(count):
            return every
        left: Sequence[int]
        if groups:
            left = self._send_groups(descriptor, groups, size)
        else:
            left = () if self._batch.send_joined(descriptor, count, size) else every
        if left and syscalls.failure().errno in NEVER_JOINED:
            self._up_to = size - 1
        return left

    def _send_groups(self, descriptor: int, groups: list[list[int]], size: int) -> list[int]:
        """Send each group; returns the slots of those that the kernel did not take."""
        headers, parts, count = self._headers_64, self._parts_64, 0
        for at, group in zip(range(0, _HEADER_64 * len(groups), _HEADER_64), groups, strict=True):
            headers[at] = self._names[group[0]]
            headers[at + 2] = self._first_part + _PART * count
            headers[at + 3] = len(group)
            count += len(group)
        parts[: 2 * count : 2] = memoryview(array("Q", map(self._bases.__getitem__, chain.from_iterable(groups))))
        if size != self._size:
            self._size = size
            parts[1::2] = memoryview(array("Q", [size] * SLOTS))
        self._batch.write_segment_control(size)
        left: list[int] = []
        done = 0
        while done < len(groups):
            sent = syscalls.C.sendmmsg(descriptor, self._headers + done, len(groups) - done, MSG_DONTWAIT)
            if sent <= 0:
                left += groups[done]
                sent = 1
            done += sent
        return left


def _by_source(sources: Sequence[bytes]) -> list[list[int]]:
    """The slots of each source; empty if there are too many sources."""
    distinct = dict.fromkeys(sources)
    if WORTHWHILE * len(distinct) > len(sources):
        return []
    groups: dict[bytes, list[int]] = {name: [] for name in distinct}
    for slot, name in enumerate(sources):
        groups[name].append(slot)
    return list(groups.values())
