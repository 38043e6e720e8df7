"""The user and groups of the process at the other end of a Unix socket, from the kernel (unix(7)).

For a client this is the process that called listen(2) on the socket; for a server, the process that connected.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

SO_PEERGROUPS: Final = 59  #: Linux 4.13; the socket module does not name it
MOST_GROUPS: Final = 256  #: as many as fit in the longest option that `socket.getsockopt` reads, 1,024 bytes
OVERFLOW: Final = 65_534  #: the default number for every unmapped one (user_namespaces(7))
COMPLETE: Final = 2**32 - 1  #: the size of the map of the initial user namespace

_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid


@dataclass(frozen=True)
class Credentials:
    """The user and the groups of a process, primary and supplementary ones. Numbers as this process sees them."""

    user: int
    groups: frozenset[int]


def credentials(connection: Any) -> Credentials | None:
    """The credentials of the other end of a connected Unix socket; None if the kernel does not report them.

    For a process in more than MOST_GROUPS groups only the primary one is known.
    """
    try:
        _, user, group = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
    except (AttributeError, OSError):  # not a socket of Linux
        return None
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MOST_GROUPS)
    except OSError:  # an older kernel, or more groups than fit
        raw = b""
    return Credentials(user, frozenset((group, *struct.unpack(f"{len(raw) // 4}I", raw))))


@cache
def overflow(of: Literal["uid", "gid"], proc: Path = Path("/proc")) -> int | None:
    """The overflow number: every user (or group) that is not mapped in this user namespace has it.

    None if every number is mapped. If /proc cannot be read, the map is treated as incomplete.
    """
    try:
        lines = (proc / "self" / f"{of}_map").read_text("ascii").splitlines()
        if sum(int(line.split()[2]) for line in lines) >= COMPLETE:
            return None
        return int((proc / "sys" / "kernel" / f"overflow{of}").read_text("ascii"))
    except (OSError, ValueError, IndexError):
        return OVERFLOW


def own_user() -> int | None:
    """The effective user of this process; None if other users may have the same number, see `overflow`."""
    user = os.geteuid()
    return None if user == overflow("uid") else user
