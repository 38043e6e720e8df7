"""Batches of datagrams: 64 slots that recvmmsg(2) fills and sendmmsg(2) sends, in place.

      slot:   name (32)  │  control (128)  │  data (65,536)  │  mmsghdr  │  iovec
                 source  │  ancillary data │  payload        │  refers to all

      reply:  a msghdr that sends the first slot, for a batch of one datagram

The payload of an echo never becomes a Python object. For the reply, the received lengths are copied to the lengths to
send, for all slots in one strided assignment; name and control message stay as received. This module knows the memory
layout, but no sockets, gates or services.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any, Final

from echod.fastpath import syscalls

SLOTS: Final = 64  #: datagrams of a turn, and maximum segments of a UDP_SEGMENT send (UDP_MAX_SEGMENTS)
ROOM: Final = 65_536  #: bytes of data: more than any datagram, and than what UDP_GRO joins
NAME: Final = 32  #: bytes of struct sockaddr_in6, rounded up
CONTROL: Final = 128
MSG_DONTWAIT: Final = 0x40

SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103  # udp(7); <linux/udp.h>
UDP_GRO: Final = 104
IP_PKTINFO: Final = 8
SEGMENT_SPACE: Final = 24  #: bytes of a control message that holds a segment's size, rounded up
MOST_AT_ONCE: Final = 65_000  #: bytes of one UDP_SEGMENT send: below 65,535 with every header

_HEADER_32: Final = 16  # a mmsghdr in 32-bit words …
_HEADER_64: Final = 8  # … and in 64-bit words
_CONTROL_32: Final = CONTROL // 4
_CONTROL_64: Final = CONTROL // 8
_NAME_64: Final = NAME // 8
_LENGTH: Final = 14  # index of the received length, in 32-bit words
_CONTROL_LENGTH: Final = 5  # in 64-bit words
_HEAD: Final = 16  # bytes of a cmsghdr
# After the header of IP_PKTINFO, in 32-bit words of the slot's control: 4 the interface, 5 the source for replies
# (ipi_spec_dst), 6 the destination address (ipi_addr). Of IPV6_PKTINFO: 4 to 7 the address, 8 the interface.


class Batch:
    """The slots of one socket. `family` is AF_INET or AF_INET6. With `pktinfo`, each datagram has its destination
    address, and the reply is sent from that address. Otherwise it is sent from the socket's own address.

    `honest` has pairs of IPv6 destination and source addresses, as 64-bit words: the destination is unicast, and both
    have the same IP version. The lane adds them; for IPv4 the control message is enough.
    """

    def __init__(self, family: int, *, pktinfo: bool) -> None:
        ffi = syscalls.ffi
        self._six = family == socket.AF_INET6
        self.honest: set[tuple[int, int, int, int]] = set()
        self.pktinfo_space = (_HEAD + (24 if self._six else 16)) if pktinfo else 0
        # A mapping of its own: `close` frees it at once, and pages that no datagram has used take no memory.
        self._pages = mmap(-1, SLOTS * ROOM, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        self._data = ffi.from_buffer("char[]", self._pages)
        self._names = ffi.new("char[]", SLOTS * NAME)
        self._controls = ffi.new("char[]", SLOTS * CONTROL)
        self._parts = ffi.new("struct iovec[]", SLOTS)
        self.slots = self._headers = ffi.new("struct mmsghdr[]", SLOTS)
        for slot in range(SLOTS):
            self._parts[slot].base = self._data + slot * ROOM
            self._parts[slot].length = ROOM
            header = self._headers[slot].header
            header.name, header.name_length = self._names + slot * NAME, 28
            header.parts, header.part_count = self._parts + slot, 1
            header.control, header.control_length = self._controls + slot * CONTROL, CONTROL
        # The offset in a slot's control of the address that was asked, its bytes, and the offset of the interface.
        self.pktinfo_layout = ((16, 16, 32) if self._six else (20, 8, 16)) if pktinfo else (0, 0, 0)
        self.name_length = 28 if self._six else 16
        self.segment_space = SEGMENT_SPACE + self.pktinfo_space
        self.segment_control = ffi.new("char[]", self.segment_space)  #: of every joined send
        self._segments = ffi.new("struct msghdr *")
        self._segments.name, self._segments.name_length = self._names, self.name_length
        self._segments.parts = self._parts
        self._segments.control, self._segments.control_length = self.segment_control, self.segment_space
        self.data = memoryview(self._pages)
        self.names = memoryview(ffi.buffer(self._names)).cast("B")
        self.controls = memoryview(ffi.buffer(self._controls)).cast("B")
        self._names_64 = self.names.cast("Q")
        self._controls_32, self._controls_64 = self.controls.cast("I"), self.controls.cast("Q")
        headers = memoryview(ffi.buffer(self._headers)).cast("B")
        self._headers_32, self._headers_64 = headers.cast("I"), headers.cast("Q")
        self._parts_bytes = memoryview(ffi.buffer(self._parts)).cast("B")
        self._parts_32 = self._parts_bytes.cast("I")
        self._parts_fresh = bytes(self._parts_bytes)
        self._control_fresh = memoryview(bytes(CONTROL.to_bytes(8, "little") * SLOTS)).cast("Q")
        self._nothing_32 = memoryview(bytes(4 * SLOTS)).cast("I")
        self._segment_bytes = memoryview(ffi.buffer(self.segment_control)).cast("B")
        _write_head(self._segment_bytes, 2, SOL_UDP, UDP_SEGMENT)
        self._prepare_reply()

    def new_joined(self) -> tuple[Any, Any]:
        """A msghdr for a joined send by the native loop, and its parts. The caller must keep both."""
        parts = syscalls.ffi.new("struct iovec[]", SLOTS)
        header = syscalls.ffi.new("struct msghdr *")
        header.name_length, header.parts = self.name_length, parts
        header.control, header.control_length = self.segment_control, self.segment_space
        return header, parts

    def _prepare_reply(self) -> None:
        self._reply_part = syscalls.ffi.new("struct iovec *")
        self._reply_part.base = self._data
        self.reply = syscalls.ffi.new("struct msghdr *")
        self.reply.name, self.reply.name_length = self._names, self.name_length
        self.reply.parts, self.reply.part_count = self._reply_part, 1
        self.reply.control, self.reply.control_length = self._controls, self.pktinfo_space
        self.reply_length = memoryview(syscalls.ffi.buffer(self._reply_part)).cast("B").cast("Q")[1:]
        self.first_name = self.names[:NAME].tobytes  #: of the first slot, as the next three
        self.first_length = self._headers_32[_LENGTH : _LENGTH + 1]
        self.first_control = self._headers_64[_CONTROL_LENGTH : _CONTROL_LENGTH + 1]
        self.first_index = self._controls_32[8 if self._six else 4 :][:1]

    def close(self) -> None:
        """Free the memory of the data. The batch cannot be used afterwards."""
        self.data.release()
        syscalls.ffi.release(self._data)
        self._pages.close()

    def is_simple(self) -> bool:
        """Whether the first slot has one datagram, which was sent to a unicast address."""
        if self._headers_64[_CONTROL_LENGTH] != self.pktinfo_space:
            return False
        if not self.pktinfo_space:
            return True
        if self._six:
            to, by = self._controls_64, self._names_64
            return (to[2], to[3], by[1], by[2]) in self.honest
        return self._controls_32[5] == self._controls_32[6]

    def lengths(self, count: int) -> list[int]:
        """The received bytes of each of the first `count` slots."""
        return self._headers_32[_LENGTH : _HEADER_32 * count : _HEADER_32].tolist()

    def control_lengths(self, count: int) -> list[int]:
        """The bytes of ancillary data of each: `pktinfo_space`, plus SEGMENT_SPACE if GRO joined datagrams."""
        return self._headers_64[_CONTROL_LENGTH : _HEADER_64 * count : _HEADER_64].tolist()

    def to_one(self, count: int) -> bool:
        """Whether all were sent to unicast addresses, not to broadcast or multicast."""
        if not self.pktinfo_space:
            return True
        if self._six:
            return self.honest.issuperset(zip(*self._asked(count), *self._asking(count), strict=True))
        words, step = self._controls_32, _CONTROL_32
        return bool(words[5 : step * count : step] == words[6 : step * count : step])

    def asked_alike(self, count: int) -> bool:
        """Whether all were sent to the same address."""
        if not self.pktinfo_space:
            return True
        if self._six:
            high, low = self._asked(count)
            return high.count(high[0]) == count and low.count(low[0]) == count
        column = self._controls_32[5 : _CONTROL_32 * count : _CONTROL_32].tolist()
        return column.count(column[0]) == count

    def _asked(self, count: int) -> tuple[list[int], list[int]]:
        """Both halves of each IPv6 destination address."""
        words, behind = self._controls_64, _CONTROL_64 * count
        return words[2:behind:_CONTROL_64].tolist(), words[3:behind:_CONTROL_64].tolist()

    def _asking(self, count: int) -> tuple[list[int], list[int]]:
        """Both halves of each IPv6 source address."""
        words, behind = self._names_64, _NAME_64 * count
        return words[1:behind:_NAME_64].tolist(), words[2:behind:_NAME_64].tolist()

    def prepare(self, first: int, behind: int, joined: Collection[int]) -> None:
        """Turn slots `first` to `behind` into replies of the received length; `split_again` completes `joined` ones.

        They are sent from the destination address of the request, by the interface of the route, so that routing may
        be asymmetric.
        """
        came = self._headers_32[_HEADER_32 * first + _LENGTH : _HEADER_32 * behind : _HEADER_32]
        self._parts_32[4 * first + 2 : 4 * behind : 4] = came
        index = 8 if self._six else 4
        if not self.pktinfo_space:
            return
        if not joined:
            indexes = slice(_CONTROL_32 * first + index, _CONTROL_32 * behind, _CONTROL_32)
            self._controls_32[indexes] = self._nothing_32[: behind - first]
        else:
            for slot in range(first, behind):
                if slot not in joined:
                    self._controls_32[_CONTROL_32 * slot + index] = 0

    def send(self, descriptor: int, first: int, behind: int) -> list[int]:
        """Send slots `first` to `behind`; returns those that the kernel did not accept."""
        return send_slots(descriptor, self._headers, first, behind)

    def send_joined(self, descriptor: int, count: int, size: int) -> bool:
        """Send the first `count` slots, of `size` bytes each, to one peer in one call. False if nothing was sent."""
        self.write_segment_control(size)
        self._segments.part_count = count
        return bool(syscalls.C.sendmsg(descriptor, self._segments, MSG_DONTWAIT) > 0)

    def write_segment_control(self, size: int) -> None:
        """Make `segment_control` split at `size` bytes, and name the source address that the first slot has."""
        self._segment_bytes[_HEAD : _HEAD + 2] = size.to_bytes(2, "little")
        self._segment_bytes[SEGMENT_SPACE:] = self.controls[: self.pktinfo_space]

    def segment_size(self, slot: int) -> int:
        """The bytes of each datagram that GRO joined in a slot; the last may be shorter."""
        return int.from_bytes(self.controls[slot * CONTROL + _HEAD : slot * CONTROL + _HEAD + 4], "little")

    def split_again(self, slot: int) -> None:
        """Complete the reply of a joined slot: the kernel splits it at the size of the received datagrams."""
        at = slot * CONTROL
        _write_head(self.controls[at : at + _HEAD], 2, SOL_UDP, UDP_SEGMENT)
        if self.pktinfo_space:
            index = at + SEGMENT_SPACE + _HEAD + (16 if self._six else 0)
            self.controls[index : index + 4] = bytes(4)

    def pktinfo(self, slot: int) -> bytes:
        """The struct in_pktinfo or in6_pktinfo of a slot; empty without `pktinfo`."""
        if not self.pktinfo_space:
            return b""
        joined = self._headers_64[_HEADER_64 * slot + _CONTROL_LENGTH] > self.pktinfo_space
        at = slot * CONTROL + _HEAD + (SEGMENT_SPACE if joined else 0)
        return bytes(self.controls[at : at + (20 if self._six else 12)])

    def clear(self, count: int) -> None:
        """Make the first `count` slots ready to receive again. All names of a socket have the same length."""
        self._parts_bytes[: 16 * count] = self._parts_fresh[: 16 * count]
        self._headers_64[_CONTROL_LENGTH : _HEADER_64 * count : _HEADER_64] = self._control_fresh[:count]


def send_slots(descriptor: int, headers: Any, first: int, behind: int) -> list[int]:
    """Send slots `first` to `behind` of an array of mmsghdr; returns those that the kernel did not accept."""
    failed = []
    while first < behind:
        sent = syscalls.C.sendmmsg(descriptor, headers + first, behind - first, MSG_DONTWAIT)
        if sent <= 0:
            failed.append(first)
            sent = 1
        first += sent
    return failed


def _write_head(into: memoryview, length: int, level: int, kind: int) -> None:
    """Write a cmsghdr for `length` bytes of data (cmsg(3))."""
    into[:_HEAD] = (_HEAD + length).to_bytes(8, "little") + level.to_bytes(4, "little") + kind.to_bytes(4, "little")
