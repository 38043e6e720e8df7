"""System calls that Python does not provide, by cffi in ABI mode: no compiler, no writable and executable memory.

`available` is False if cffi or a function of the C library is missing; then the plain path is used.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import Any, Final

SOCK_NONBLOCK: Final = 0o4000
SOCK_CLOEXEC: Final = 0o2000000
F_SETPIPE_SZ: Final = 1031  # fcntl(2); <linux/fcntl.h>

_DECLARATIONS: Final = """
    int accept4(int, void *, unsigned int *, int);
    int getpeername(int, void *, unsigned int *);
    int setsockopt(int, int, int, const void *, unsigned int);

    struct timespec { long seconds; long nanoseconds; };
    struct itimerspec { struct timespec interval; struct timespec value; };
    int timerfd_create(int, int);
    int timerfd_settime(int, int, const struct itimerspec *, struct itimerspec *);

    struct iovec { void *base; size_t length; };
    struct msghdr {
        void *name; unsigned int name_length;
        struct iovec *parts; size_t part_count;
        void *control; size_t control_length;
        int flags;
    };
    struct mmsghdr { struct msghdr header; unsigned int length; };
    int recvmmsg(int, struct mmsghdr *, unsigned int, int, void *);
    int sendmmsg(int, struct mmsghdr *, unsigned int, int);
    ssize_t sendmsg(int, const struct msghdr *, int);
"""

C: Any = None
ffi: Any = None
try:
    import cffi
except ImportError:
    pass
else:
    ffi = cffi.FFI()
    ffi.cdef(_DECLARATIONS)
    C = ffi.dlopen(None)

available: Final = hasattr(os, "splice") and all(hasattr(C, call) for call in re.findall(r"(\w+)\(", _DECLARATIONS))

batches: Final = available and ffi.sizeof("struct mmsghdr") == 64 and sys.byteorder == "little"
"""Whether the structures above have the memory layout that `fastpath.batch` expects: 64-bit and little-endian."""


def failure() -> OSError:
    """The error of the last call."""
    number = int(ffi.errno)
    return OSError(number, os.strerror(number))


def would_block() -> bool:
    """Whether the last call failed only because it would block."""
    return int(ffi.errno) == errno.EAGAIN
