"""Declares the system calls of the fast path and the functions of its native loop, and generates libc.py.

Run `python -m echod.fastpath.generate_libc` after a change.

cffi needs 25 ms to parse these lines. The daemon imports the generated module instead, at every start.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

DECLARATIONS: Final = """
    int accept4(int, void *, unsigned int *, int);
    int getpeername(int, void *, unsigned int *);
    int getsockopt(int, int, int, void *, unsigned int *);
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

NATIVE: Final = """
    struct echod_source { uint32_t name[8], to[4]; };
    struct echod_datagrams {
        struct mmsghdr *slots;
        struct msghdr *joined;
        struct echod_source *sources;
        unsigned int control_length, to_at, to_length, interface_at, joinable, alone;
        uint64_t received, received_bytes, failed, failed_bytes;
    };
    struct echod_lane { int kind, pipe_read, pipe_write; unsigned int most; struct echod_datagrams *datagrams; };
    struct echod_entry { uint64_t carried; struct echod_lane *lane; uint32_t unit, large; };
    struct echod_told { int descriptor, what, received, sent; };
    struct echod_loop { int epoll; unsigned int size, counted; struct echod_entry *entries;
        struct echod_told told[64];
        char buffer[65536];
    };
    int echod_abi(void);
    int echod_serve(struct echod_loop *, int, int);
    void echod_remember(struct echod_datagrams *, int);
"""  # as in native_loop.c

HEAD: Final = '"""Declarations of the C library. `python -m echod.fastpath.generate_libc` generates this module."""\n\n'
GENERATED: Final = Path(__file__).with_name("libc.py")


def source() -> str:
    """The text of libc.py."""
    import cffi

    builder = cffi.FFI()
    builder.cdef(DECLARATIONS + NATIVE)
    builder.set_source("echod.fastpath.libc", None)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "libc.py"
        builder.emit_python_code(str(made))
        return HEAD + made.read_text("ascii").partition("\n")[2]


if __name__ == "__main__":
    GENERATED.write_text(source(), "ascii")
