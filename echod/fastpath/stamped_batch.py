"""A batch whose datagrams have the kernel's facts: 64 slots that recvmmsg(2) fills, and replies that refer to them.

      control of a slot:   time of arrival (32)  │  destination (32 or 40)  │  hops (24)  │  traffic class (24)

The options of `udp_options.prepare` make the kernel write these four, in this order. A slot whose control messages have
another size is left to the plain path. Requests and replies have headers of their own, so that only lengths are copied
between them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Hashable, Iterable, Iterator
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any, Final

from echod.fastpath import syscalls
from echod.fastpath.batch import CONTROL, NAME, ROOM, SLOTS, send_slots
from echod.in_place_replies import Placed

_HEAD: Final = struct.Struct("QII")  # a cmsghdr: its length with the data, level, type
_HEADER_32: Final = 16  # a mmsghdr in 32-bit words …
_HEADER_64: Final = 8  # … and in 64-bit words
_CONTROL_32: Final = CONTROL // 4
_CONTROL_64: Final = CONTROL // 8
_LENGTH: Final = 14  # index of the received length, in 32-bit words
_CONTROL_LENGTH: Final = 5  # in 64-bit words
_DESTINATION: Final = 32  # offset of the control message with the destination
_PKTINFO: Final = _DESTINATION + _HEAD.size


class StampedBatch:
    """The slots of one socket. `family` is AF_INET or AF_INET6.

    With `wildcard`, replies are sent from the destination address of their requests, by the interface of the route.
    """

    def __init__(self, family: int, *, wildcard: bool) -> None:
        ffi = syscalls.ffi
        six = family == socket.AF_INET6
        self._wildcard = wildcard
        self._name_length = 28 if six else 16
        self._usual = 120 if six else 112  # bytes of the four control messages
        self._pktinfo = slice(_PKTINFO, _PKTINFO + (20 if six else 12))
        self._index = (_PKTINFO + (16 if six else 0)) // 4  # of the interface, in 32-bit words
        self._hops = _DESTINATION + (40 if six else 32) + _HEAD.size
        # A mapping of its own: `close` frees it at once, and pages that no datagram has used take no memory.
        self._pages = mmap(-1, SLOTS * ROOM, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        self._data = ffi.from_buffer("char[]", self._pages)
        self._names = ffi.new("char[]", SLOTS * NAME)
        self._controls = ffi.new("char[]", SLOTS * CONTROL)
        self._parts = ffi.new("struct iovec[]", 2 * SLOTS)
        self.requests = ffi.new("struct mmsghdr[]", SLOTS)
        self._replies = ffi.new("struct mmsghdr[]", SLOTS)
        space = (40 if six else 32) if wildcard else 0
        for slot in range(SLOTS):
            control = self._controls + slot * CONTROL
            self._fill(self.requests[slot].header, slot, slot, control, CONTROL)
            self._fill(self._replies[slot].header, slot, SLOTS + slot, control + _DESTINATION, space)
        self.data = memoryview(self._pages)
        self._names_bytes = memoryview(ffi.buffer(self._names)).cast("B")
        self._controls_bytes = memoryview(ffi.buffer(self._controls)).cast("B")
        self._controls_32, self._controls_64 = self._controls_bytes.cast("I"), self._controls_bytes.cast("Q")
        received = memoryview(ffi.buffer(self.requests)).cast("B")
        self._received_32, self._received_64 = received.cast("I"), received.cast("Q")
        self._reply_lengths = memoryview(ffi.buffer(self._parts)).cast("B").cast("I")[4 * SLOTS + 2 :: 4]
        self._fresh = memoryview(bytes(CONTROL.to_bytes(8, "little") * SLOTS)).cast("Q")
        self._zeros = memoryview(bytes(4 * SLOTS)).cast("I")

    def _fill(self, header: Any, slot: int, part: int, control: Any, control_length: int) -> None:
        """Make the msghdr of a request or a reply refer to a slot."""
        self._parts[part].base, self._parts[part].length = self._data + slot * ROOM, ROOM
        header.name, header.name_length = self._names + slot * NAME, self._name_length
        header.parts, header.part_count = self._parts + part, 1
        header.control, header.control_length = control, control_length

    def close(self) -> None:
        """Free the memory of the data. The batch cannot be used afterwards."""
        self.data.release()
        syscalls.ffi.release(self._data)
        self._pages.close()

    def lengths(self, count: int) -> list[int]:
        """The received bytes of each of the first `count` slots."""
        return self._received_32[_LENGTH : _HEADER_32 * count : _HEADER_32].tolist()

    def usual(self, count: int) -> list[bool]:
        """Whether each slot has the four control messages."""
        lengths = self._received_64[_CONTROL_LENGTH : _HEADER_64 * count : _HEADER_64].tolist()
        return [length == self._usual for length in lengths]

    def names(self, count: int) -> list[bytes]:
        """The socket address of each sender."""
        names = self._names_bytes[: NAME * count].tobytes()
        return [names[at : at + NAME] for at in range(0, NAME * count, NAME)]

    def flow(self, slot: int) -> bytes:
        """The socket address of a sender, and at a wildcard the destination after it."""
        name = bytes(self._names_bytes[slot * NAME : slot * NAME + NAME])
        return name + self.pktinfo(slot) if self._wildcard else name

    def pktinfo(self, slot: int) -> bytes:
        """The struct in_pktinfo or in6_pktinfo of a slot with the usual control messages."""
        at = slot * CONTROL
        return bytes(self._controls_bytes[at + self._pktinfo.start : at + self._pktinfo.stop])

    def ancillary(self, slot: int) -> list[tuple[int, int, bytes]]:
        """The control messages of a slot, as `socket.recvmsg` returns them."""
        found = []
        at = slot * CONTROL
        end = at + self._received_64[_HEADER_64 * slot + _CONTROL_LENGTH]
        while end - at >= _HEAD.size:
            length, level, kind = _HEAD.unpack_from(self._controls_bytes, at)
            found.append((level, kind, bytes(self._controls_bytes[at + _HEAD.size : at + length])))
            at += (length + 7) & ~7
        return found

    def datagram(self, slot: int, length: int) -> bytes:
        """The datagram in a slot."""
        return bytes(self.data[slot * ROOM : slot * ROOM + length])

    def placed(self, first: int, lengths: list[int], ends: Iterable[Hashable]) -> Iterator[Placed]:
        """The requests in slots with the usual control messages, from the slot `first` on, and the ends of each."""
        behind = first + len(lengths)
        begin, end = _CONTROL_64 * first, _CONTROL_64 * behind
        return map(
            Placed,
            range(ROOM * first, ROOM * behind, ROOM),
            lengths,
            self._controls_64[begin + 2 : end : _CONTROL_64].tolist(),
            self._controls_64[begin + 3 : end : _CONTROL_64].tolist(),
            self._controls_32[2 * begin + self._hops // 4 : 2 * end : _CONTROL_32].tolist(),
            ends,
        )

    def prepare(self, first: int, behind: int) -> None:
        """Give the replies in slots `first` to `behind` the length of their requests."""
        lengths = self._received_32[_HEADER_32 * first + _LENGTH : _HEADER_32 * behind : _HEADER_32]
        self._reply_lengths[first:behind] = lengths
        if self._wildcard:
            indexes = slice(_CONTROL_32 * first + self._index, _CONTROL_32 * behind, _CONTROL_32)
            self._controls_32[indexes] = self._zeros[: behind - first]

    def send(self, descriptor: int, first: int, behind: int) -> list[int]:
        """Send slots `first` to `behind`; returns those that the kernel did not accept."""
        return send_slots(descriptor, self._replies, first, behind)

    def clear(self, count: int) -> None:
        """Make the first `count` slots ready to receive again. All names of a socket have the same length."""
        self._received_64[_CONTROL_LENGTH : _HEADER_64 * count : _HEADER_64] = self._fresh[:count]
