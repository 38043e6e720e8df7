"""Accepts connections as descriptors: accept4(2), the address of the peer, and socket options."""

from __future__ import annotations

import socket
import sys
from typing import Final

from echod.fastpath import syscalls
from echod.gate.total_buffer import KERNEL_BUFFER
from echod.socket_names import SocketAddress, inet, inet_name, unix_name
from echod.transports.stream_socket import RESET_ON_CLOSE

NAME_ROOM: Final = 128  #: bytes of struct sockaddr_storage

_AF_INET: Final = int(socket.AF_INET).to_bytes(2, sys.byteorder)  # as sa_family_t in memory
_AF_INET6: Final = int(socket.AF_INET6).to_bytes(2, sys.byteorder)


class Accepting:
    """Accepts connections, and holds the address of the last accepted peer."""

    def __init__(self, family: int) -> None:
        self._name = syscalls.ffi.new("char[]", NAME_ROOM)
        self._name_bytes = syscalls.ffi.buffer(self._name)
        self._length = syscalls.ffi.new("unsigned int *")
        self._linger = syscalls.ffi.new("char[]", RESET_ON_CLOSE)
        self._most = syscalls.ffi.new("int *", KERNEL_BUFFER)
        self._one = syscalls.ffi.new("int *", 1)
        self._segment = syscalls.ffi.new("int *")
        # The buffer of a Unix socket does not grow automatically, and its connections do not inherit SO_OOBINLINE.
        self._unix = family == socket.AF_UNIX

    def accept(self, listening: int) -> int:
        """Accept the next connection; returns its descriptor, or -1 if it failed (see `syscalls.failure`)."""
        self._length[0] = NAME_ROOM
        flags = syscalls.SOCK_NONBLOCK | syscalls.SOCK_CLOEXEC
        return int(syscalls.C.accept4(listening, self._name, self._length, flags))

    def ask(self, descriptor: int) -> bool:
        """Load the address of an open connection for `peer`. Returns False if the connection has been reset."""
        self._length[0] = NAME_ROOM
        return bool(syscalls.C.getpeername(descriptor, self._name, self._length) == 0)

    def host(self) -> bytes:
        """The address of the last accepted peer: 4 or 16 bytes, or none for a Unix socket."""
        name = self._name_bytes
        family = name[0:2]
        if family == _AF_INET:
            return bytes(name[4:8])
        if family == _AF_INET6:
            return bytes(name[8:24])
        return b""

    def peer(self) -> SocketAddress:
        """The address and port of that peer."""
        name = bytes(self._name_bytes[: self._length[0]])
        port = int.from_bytes(name[2:4], "big")
        if name[:2] == _AF_INET:
            return inet(socket.inet_ntop(socket.AF_INET, name[4:8]), port)
        if name[:2] == _AF_INET6:
            host = socket.inet_ntop(socket.AF_INET6, name[8:24])
            scope = int.from_bytes(name[24:28], sys.byteorder)
            return inet_name((host, port, 0, scope))
        return unix_name(name[2:].rstrip(b"\0") if name[2:3] != b"\0" else name[2:])

    def reset_on_close(self, descriptor: int) -> None:
        """Make the close of a connection send a reset."""
        syscalls.C.setsockopt(descriptor, socket.SOL_SOCKET, socket.SO_LINGER, self._linger, len(RESET_ON_CLOSE))

    def keep_urgent_inline(self, descriptor: int) -> None:
        """Keep urgent bytes in the stream, as `transports.sockets.keep_urgent_inline` does."""
        if self._unix:
            syscalls.C.setsockopt(
                descriptor, socket.SOL_SOCKET, socket.SO_OOBINLINE, self._one, syscalls.ffi.sizeof("int")
            )

    def whole_segments(self, descriptor: int, most: int) -> int:
        """The largest number of bytes, up to `most`, that the kernel sends in whole segments.

        On loopback, 65,536 bytes leave as two segments, of 65,483 and 53 bytes, and each takes the same time. Returns 0
        if `most` is a multiple already, or an eighth of it would be left. So it is at the start of a connection: the
        kernel sends shorter segments, because the receive window of the peer is small.
        """
        self._length[0] = syscalls.ffi.sizeof("int")
        if syscalls.C.getsockopt(descriptor, socket.IPPROTO_TCP, socket.TCP_MAXSEG, self._segment, self._length):
            return most  # not TCP
        size = int(self._segment[0])
        if not 0 < size <= most:
            return most
        rest = most % size
        return most - rest if 0 < rest <= most // 8 else 0

    def clamp(self, descriptor: int) -> None:
        """Limit the kernel's buffers, as `transports.sockets.clamp` does."""
        if not self._unix:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                syscalls.C.setsockopt(descriptor, socket.SOL_SOCKET, option, self._most, syscalls.ffi.sizeof("int"))
