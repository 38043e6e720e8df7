"""Files that are read whole: never more than a bound, and never one that makes the reader wait."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

MOST: Final = 2**20  #: octets; a thousand services need a tenth of it, and /dev/zero ends nowhere
OWN: Final = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""What this process was started with: a shell puts a pipe there (`… | echod --config /dev/stdin`), and it ends."""


class Unsuitable(ValueError):
    """It can be read, and is not what it should be; the message says why, in words that go behind the file's name."""


def read_whole(path: str | os.PathLike[str], *, own: bool = False) -> bytes:
    """All of a regular file, or with `own` of a descriptor that this process was started with.

    Raises OSError, Unsuitable, and ValueError where the name holds a NUL.
    """
    inherited = own and os.fspath(path).startswith(OWN)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | (0 if inherited else os.O_NONBLOCK)  # who opens a FIFO waits
    opened = os.open(path, flags)
    try:  # not `with open(opened)`: open(2) of a folder succeeds, open() of its descriptor fails and leaves it open
        kind = os.fstat(opened).st_mode
        if stat.S_ISDIR(kind):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not inherited and not stat.S_ISREG(kind):
            raise Unsuitable("is no regular file")
        with open(opened, "rb", closefd=False) as source:
            data = source.read(MOST + 1)
    finally:
        os.close(opened)
    if len(data) > MOST:
        raise Unsuitable(f"is larger than {MOST} octets")
    return data


def not_utf8(error: UnicodeDecodeError) -> tuple[int, str]:
    """The line of the first octet of a file that is no UTF-8, and what there is to say of it."""
    octet = f"octet {error.start + 1} of the file is 0x{error.object[error.start]:02x}"
    return error.object.count(b"\n", 0, error.start) + 1, f"is not UTF-8 ({octet}); save the file as UTF-8"
