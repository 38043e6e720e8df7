"""A group of UDP sockets at one address (SO_REUSEPORT): which of them gets the datagrams.

The kernel assigns each flow to a socket by a hash. A program of classic BPF can choose instead (socket(7),
SO_ATTACH_REUSEPORT_CBPF); it belongs to the group, and stays until it is detached or the group ends.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import suppress
from typing import Final

SO_ATTACH_REUSEPORT_CBPF: Final = 51  # socket(7); <asm-generic/socket.h>
SO_DETACH_REUSEPORT_BPF: Final = 68
_FIRST: Final = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K: the socket with index 0


def gather(member: socket.socket) -> None:
    """Let the first socket of the group get all datagrams that arrive from now on.

    Those that wait in the other sockets stay there. A kernel that cannot do it continues with the hash.
    """
    code = ctypes.create_string_buffer(_FIRST, len(_FIRST))
    option = struct.pack("HxxxxxxP", 1, ctypes.addressof(code))
    with suppress(OSError):
        member.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, option)


def spread(member: socket.socket) -> None:
    """Let the kernel assign flows to all sockets of the group again."""
    with suppress(OSError):  # no program is attached
        member.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)
