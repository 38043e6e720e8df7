"""System calls that Python does not provide, by cffi in ABI mode: no compiler, no writable and executable memory.

The declarations are in generate_libc.py. `available` is False if cffi or a function of the C library is missing; then
the plain path is used.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, Final

SOCK_NONBLOCK: Final = 0o4000
SOCK_CLOEXEC: Final = 0o2000000
F_SETPIPE_SZ: Final = 1031  # fcntl(2); <linux/fcntl.h>

C: Any = None
ffi: Any = None
try:
    from echod.fastpath.libc import ffi
except ImportError:  # of cffi's part in C
    pass
else:
    C = ffi.dlopen(None)

NATIVE_PREFIX: Final = "echod_"  #: of the declared functions that are not the C library's, but the native loop's


def has_all(library: Any, *, of_loop: bool) -> bool:
    """Whether a library has every function that is declared for the native loop, or for the C library."""
    try:
        for name in dir(library):
            if name.startswith(NATIVE_PREFIX) is of_loop:
                getattr(library, name)
    except ffi.error:  # not an AttributeError
        return False
    return True


available: Final = hasattr(os, "splice") and C is not None and has_all(C, of_loop=False)

batches: Final = available and ffi.sizeof("struct mmsghdr") == 64 and sys.byteorder == "little"
"""Whether the structures above have the memory layout that `fastpath.batch` expects: 64-bit and little-endian."""


def failure() -> OSError:
    """The error of the last call."""
    number = int(ffi.errno)
    return OSError(number, os.strerror(number))


def would_block() -> bool:
    """Whether the last call failed only because it would block."""
    return int(ffi.errno) == errno.EAGAIN
