"""A connection as a number: how it is accepted, what its peer is called, and what is set on it."""

from __future__ import annotations

import socket
import sys
from typing import Final

from echod.fastpath import syscalls
from echod.gate.send_budget import KERNEL_BUFFER
from echod.names import SocketAddress, inet, inet_name, unix_name
from echod.transports.stream_socket import RESET_ON_CLOSE

NAME_ROOM: Final = 128  #: octets of struct sockaddr_storage

_AF_INET: Final = int(socket.AF_INET).to_bytes(2, sys.byteorder)  # as sa_family_t stands in memory
_AF_INET6: Final = int(socket.AF_INET6).to_bytes(2, sys.byteorder)


class Accepting:
    """Accepts connections, and tells whose the last one is."""

    def __init__(self, family: int) -> None:
        self._name = syscalls.ffi.new("char[]", NAME_ROOM)
        self._octets = syscalls.ffi.buffer(self._name)
        self._length = syscalls.ffi.new("unsigned int *")
        self._linger = syscalls.ffi.new("char[]", RESET_ON_CLOSE)
        self._most = syscalls.ffi.new("int *", KERNEL_BUFFER)
        self._one = syscalls.ffi.new("int *", 1)
        # The buffer of a Unix socket does not grow by itself, and its connections inherit no SO_OOBINLINE.
        self._unix = family == socket.AF_UNIX

    def accept(self, listening: int) -> int:
        """The next connection, or -1: `syscalls.failure` says why."""
        self._length[0] = NAME_ROOM
        flags = syscalls.SOCK_NONBLOCK | syscalls.SOCK_CLOEXEC
        return int(syscalls.C.accept4(listening, self._name, self._length, flags))

    def ask(self, descriptor: int) -> bool:
        """Let `peer` be that of a connection which is open already; False where it was reset a moment ago."""
        self._length[0] = NAME_ROOM
        return bool(syscalls.C.getpeername(descriptor, self._name, self._length) == 0)

    def host(self) -> bytes:
        """The 4 or 16 octets of who was just accepted; none for a Unix socket."""
        name = self._octets
        family = name[0:2]
        if family == _AF_INET:
            return bytes(name[4:8])
        if family == _AF_INET6:
            return bytes(name[8:24])
        return b""

    def peer(self) -> SocketAddress:
        """What that peer is called."""
        name = bytes(self._octets[: self._length[0]])
        port = int.from_bytes(name[2:4], "big")
        if name[:2] == _AF_INET:
            return inet(socket.inet_ntop(socket.AF_INET, name[4:8]), port)
        if name[:2] == _AF_INET6:
            host = socket.inet_ntop(socket.AF_INET6, name[8:24])
            scope = int.from_bytes(name[24:28], sys.byteorder)
            return inet_name((host, port, 0, scope))
        return unix_name(name[2:].rstrip(b"\0") if name[2:3] != b"\0" else name[2:])

    def reset_on_close(self, descriptor: int) -> None:
        """Let the close of a connection be a reset."""
        syscalls.C.setsockopt(descriptor, socket.SOL_SOCKET, socket.SO_LINGER, self._linger, len(RESET_ON_CLOSE))

    def keep_urgent_inline(self, descriptor: int) -> None:
        """Leave urgent bytes in the stream, as transports.sockets.keep_urgent_inline."""
        if self._unix:
            syscalls.C.setsockopt(
                descriptor, socket.SOL_SOCKET, socket.SO_OOBINLINE, self._one, syscalls.ffi.sizeof("int")
            )

    def clamp(self, descriptor: int) -> None:
        """Bound the kernel's buffers, as transports.sockets.clamp."""
        if not self._unix:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                syscalls.C.setsockopt(descriptor, socket.SOL_SOCKET, option, self._most, syscalls.ffi.sizeof("int"))
