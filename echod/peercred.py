"""Who is at the other end of a Unix socket, as the kernel tells it (unix(7)). Knows neither side's protocol.

For a client this is whoever listened on the socket, at the time of listen(2); for a server, whoever connected.
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
MOST_GROUPS: Final = 256  #: what fits the longest option that `socket.getsockopt` reads, 1,024 bytes
OVERFLOW: Final = 65_534  #: the number that stands for every unmapped one (user_namespaces(7)), unless changed
COMPLETE: Final = 2**32 - 1  #: how many numbers the map of the first user namespace has

_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid


@dataclass(frozen=True)
class Credentials:
    """The user and the groups of a process, primary and supplementary ones. Numbers as this process sees them."""

    user: int
    groups: frozenset[int]


def credentials(connection: Any) -> Credentials | None:
    """Of the other end of a connected Unix socket; None if the kernel does not tell.

    Of a process in more than MOST_GROUPS groups only the primary one is known.
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
    """The number that identifies nobody: every user (or group) that this user namespace has no number for has it.

    None if every one has a number of its own. If /proc does not tell, the map counts as incomplete.
    """
    try:
        lines = (proc / "self" / f"{of}_map").read_text("ascii").splitlines()
        if sum(int(line.split()[2]) for line in lines) >= COMPLETE:
            return None
        return int((proc / "sys" / "kernel" / f"overflow{of}").read_text("ascii"))
    except (OSError, ValueError, IndexError):
        return OVERFLOW


def own_user() -> int | None:
    """Our own effective user; None if its number may as well be another's, see `overflow`."""
    user = os.geteuid()
    return None if user == overflow("uid") else user
