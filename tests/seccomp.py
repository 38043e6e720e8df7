"""A command that runs under a seccomp filter: the kernel refuses the system calls that are named.

`python -m tests.seccomp EPERM splice,accept4 COMMAND…` is how a container or a unit with SystemCallFilter= starts it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Sequence
from typing import Final

PR_SET_NO_NEW_PRIVS: Final = 38  # <linux/prctl.h>
PR_SET_SECCOMP: Final = 22
FILTER: Final = 2  # SECCOMP_MODE_FILTER
ALLOW: Final = 0x7FFF0000  # <linux/seccomp.h>
ERRNO: Final = 0x00050000

NUMBERS: Final = {
    "x86_64": {
        "accept4": 288,
        "recvmmsg": 299,
        "sendmmsg": 307,
        "splice": 275,
        "timerfd_create": 283,
        "timerfd_settime": 286,
    },
    "aarch64": {
        "accept4": 242,
        "recvmmsg": 243,
        "sendmmsg": 269,
        "splice": 76,
        "timerfd_create": 85,
        "timerfd_settime": 86,
    },
}
"""The numbers of the calls, by machine; unistd.h."""

CALLS: Final = NUMBERS.get(platform.machine(), {})


def refusing(calls: Sequence[str], error: str = "EPERM") -> tuple[str, ...]:
    """The words to put before a command."""
    return (sys.executable, "-W", "error", "-m", __name__, error, ",".join(calls))


def program(numbers: Sequence[int], number: int) -> bytes:
    """A filter that fails these calls with an error's number and allows all others (seccomp(2), bpf(4))."""
    lines = [struct.pack("HBBI", 0x20, 0, 0, 0)]  # load the number of the call
    for at, call in enumerate(numbers):
        lines.append(struct.pack("HBBI", 0x15, len(numbers) - at, 0, call))  # equal: to the last line
    lines.append(struct.pack("HBBI", 0x06, 0, 0, ALLOW))
    lines.append(struct.pack("HBBI", 0x06, 0, 0, ERRNO | number))
    return b"".join(lines)


def main(error: str, names: str, *command: str) -> None:
    """Become the command, under the filter."""
    code = program([CALLS[name] for name in names.split(",")], getattr(errno, error))
    lines = ctypes.create_string_buffer(code, len(code))
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(lines)))
    libc = ctypes.CDLL(None, use_errno=True)
    for words in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, FILTER, filters, 0, 0)):
        if libc.prctl(*words):
            raise OSError(ctypes.get_errno(), "prctl")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
