"""Sockets passed to a daemon as systemd passes them, by a process that becomes the daemon.

with activated([("echo", listening)], listen=["echo=systemd:echo"]) as daemon:
    ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol

from tests.daemon import ECHOD, Daemon

PASS = """
import os, sys
count = int(sys.argv[1])
given = [int(number) for number in sys.argv[2 : 2 + count]]
far = [os.dup2(number, 200 + at) for at, number in enumerate(given)]
for number in set(given):
    os.close(number)
for at, number in enumerate(far):
    os.dup2(number, 3 + at)
    os.close(number)
names = sys.argv[2 + count]
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)} | ({"LISTEN_FDNAMES": names} if names else {})
os.execv(sys.argv[3 + count], sys.argv[3 + count:])
"""
"""It sets up the descriptors and their names, and becomes the command that follows: its pid is the daemon's."""


class HasFileno(Protocol):
    """A socket, or any other object with a descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


def activated(
    passed: Sequence[tuple[str, HasFileno]],
    config: str | None = None,
    *,
    command: Sequence[str] = ECHOD,
    named: bool = True,
    **more: Any,
) -> Daemon:
    """A Daemon that is started with these descriptors, under these names or (not `named`) without any."""
    numbers = [str(one.fileno()) for _, one in passed]
    names = ":".join(name for name, _ in passed) if named else ""
    launch = [sys.executable, "-S", "-c", PASS, str(len(passed)), *numbers, names, *command]
    return Daemon(config, command=launch, pass_fds=[one.fileno() for _, one in passed], **more)
