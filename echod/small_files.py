"""Reads whole files: bounded in size, and without blocking."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

MOST: Final = 2**20  #: bytes; a thousand services need a tenth of it, and /dev/zero is endless
OWN: Final = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""Descriptors that this process inherited, such as a pipe of a shell (`… | echod --config /dev/stdin`), which ends."""


class Unsuitable(ValueError):
    """A file that can be read but is not suitable; the message is the reason, to be appended to the file's name."""


def read_whole(path: str | os.PathLike[str], *, own: bool = False) -> bytes:
    """Return the bytes of a regular file, or with `own` of a descriptor that this process inherited.

    Raises OSError, Unsuitable, and ValueError if the name contains a NUL.
    """
    inherited = own and os.fspath(path).startswith(OWN)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | (0 if inherited else os.O_NONBLOCK)  # opening a FIFO blocks
    opened = os.open(path, flags)
    try:  # not `with open(opened)`: open(2) of a folder succeeds; open() of its descriptor fails and leaks it
        kind = os.fstat(opened).st_mode
        if stat.S_ISDIR(kind):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not inherited and not stat.S_ISREG(kind):
            raise Unsuitable("is not a regular file")
        with open(opened, "rb", closefd=False) as source:
            data = source.read(MOST + 1)
    finally:
        os.close(opened)
    if len(data) > MOST:
        raise Unsuitable(f"is larger than {MOST} bytes")
    return data


def not_utf8(error: UnicodeDecodeError) -> tuple[int, str]:
    """The line of the first byte of a file that is not UTF-8, and the error message."""
    byte = f"byte {error.start + 1} of the file is 0x{error.object[error.start]:02x}"
    return error.object.count(b"\n", 0, error.start) + 1, f"is not UTF-8 ({byte}); save the file as UTF-8"
