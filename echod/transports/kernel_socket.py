"""The socket of a connection, below all layers, for faults that need the kernel."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from contextlib import suppress
from typing import Final

from echod.escaping import system_error
from echod.transports.socket_filter import attach

SIOCOUTQ: Final = 0x5411  # tcp(7)
_DROP_ALL: Final = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K with 0 bytes


class KernelSocket:
    """The connected socket of a connection. After it is closed, no method has an effect."""

    __slots__ = ("_opened",)

    def __init__(self, opened: socket.socket) -> None:
        self._opened = opened

    @property
    def _is_open(self) -> bool:
        return self._opened.family != socket.AF_UNIX and self._opened.fileno() >= 0

    def unacknowledged(self) -> int:
        """Bytes that the kernel has accepted, and the peer has not acknowledged; 0 if unknown, or for a Unix socket."""
        return unacknowledged(self._opened)

    def vanish(self) -> str:
        """Drop each further packet of the peer, as if this host had disappeared.

        Keepalive probes would end the connection, so they end. Returns the error if nothing is dropped, otherwise "".
        """
        if not self._is_open:
            return "a Unix socket has no packets"
        try:
            attach(self._opened, _DROP_ALL)
        except OSError as error:
            needs = "; it needs CAP_NET_ADMIN" if isinstance(error, PermissionError) else ""
            return f"the kernel refuses a filter: {system_error(error)}{needs}"
        with suppress(OSError):
            self._opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
        return ""


def unacknowledged(opened: socket.socket) -> int:
    """The same for any socket."""
    if opened.family != socket.AF_UNIX and opened.fileno() >= 0:
        with suppress(OSError):
            return int.from_bytes(fcntl.ioctl(opened, SIOCOUTQ, bytes(4)), sys.byteorder)
    return 0


def permits_filters() -> bool:
    """Whether the kernel permits this process to filter the packets of a TCP connection."""
    with socket.socket() as probe:
        return not KernelSocket(probe).vanish()
