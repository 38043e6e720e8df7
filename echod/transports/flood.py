"""A flood from forbidden source ports, dropped by the kernel before we see it.

The filter is classic BPF on the socket and has the verdicts of the gate's port rule, no more: a datagram that it
drops would have been refused for its source port. Its drops and overflows of the receive buffer share one
counter of the kernel, which is told as the reason `kernel`; that is why it is attached only during a flood.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable
from typing import Final

from echod.gate.datagrams import PRIVILEGED

SO_ATTACH_FILTER: Final = 26  # socket(7); <asm-generic/socket.h>
SO_DETACH_FILTER: Final = 27
SO_MEMINFO: Final = 55
DROPS: Final = 8  #: SK_MEMINFO_DROPS of <linux/sock_diag.h>

_LOAD_HALF: Final = 0x28  # BPF_LD | BPF_H | BPF_ABS
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_WHOLE: Final = 0xFFFFFFFF

MOST: Final = 250
"""Ports that one filter compares: a conditional jump reaches 255 instructions."""


def program(refused: Iterable[int], excepted: Iterable[int]) -> bytes:
    """Instructions that drop datagrams from below PRIVILEGED and from `refused`, but not from `excepted`.

    A UDP socket's filter sees the UDP header first, and there the source port (RFC 768).
    """
    allowed = sorted(set(excepted))[:MOST]
    dropped = sorted({port for port in refused if port >= PRIVILEGED} - set(excepted))[: MOST - len(allowed)]
    tests = [(_IF_EQUAL, port, True) for port in allowed]
    tests += [(_IF_EQUAL, port, False) for port in dropped]
    length = len(tests) + 2  # the load, the tests, and the one for privileged ports; two returns follow
    lines = [struct.pack("HBBI", _LOAD_HALF, 0, 0, 0)]
    for at, (test, port, keep) in enumerate(tests, start=1):
        lines.append(struct.pack("HBBI", test, length - at - (1 if keep else 0), 0, port))
    lines.append(struct.pack("HBBI", _IF_AT_LEAST, 0, 1, PRIVILEGED))
    lines.append(struct.pack("HBBI", _RETURN, 0, 0, _WHOLE))
    lines.append(struct.pack("HBBI", _RETURN, 0, 0, 0))
    return b"".join(lines)


def attach(bound: socket.socket, instructions: bytes) -> None:
    """Filter what comes to a socket. Raises OSError."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    option = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(code))
    bound.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, option)


def detach(bound: socket.socket) -> None:
    """Filter no more. Raises OSError."""
    bound.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def drops(bound: socket.socket) -> int:
    """What the kernel dropped of this socket's datagrams since it was opened, modulo 2**32. Raises OSError."""
    info = bound.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * (DROPS + 1))
    return int(struct.unpack_from("I", info, 4 * DROPS)[0])
