"""Checks that the kernel permits the system calls of the fast path: tries each one once at the start.

The C library has a function for every call, even if a seccomp filter (of a container or a systemd unit) or an old
kernel refuses it. Without this check, a refused call would result in a listener that never accepts.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable
from time import CLOCK_MONOTONIC
from typing import Any, Final

from echod.fastpath import syscalls

NO_DESCRIPTOR: Final = 2**30  #: above every limit of open files, so that a permitted call fails with EBADF
SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""The call is permitted, but a resource is exhausted. Opening the fast path will report the same error."""


def refusals() -> dict[str, OSError]:
    """The refused calls with their errors; empty if the fast path can be used."""
    found = {}
    for name, attempt in _ATTEMPTS.items():
        try:
            attempt()
        except OSError as error:
            if error.errno not in SCARCE and error.errno != errno.EBADF:
                found[name] = error
    return found


def refusal_message(refused: dict[str, OSError]) -> str:
    """The log line about refused calls."""
    names = ", ".join(
        f"{name} ({errno.errorcode.get(error.errno or 0, error.errno)})" for name, error in refused.items()
    )
    return f'daemon.plane: the fast path is off: the kernel refuses {names}; plane = "off" avoids this line'


def _checked(result: Any) -> int:
    if result < 0:
        raise syscalls.failure()
    return int(result)


def _epoll() -> None:
    with select.epoll() as epoll:
        epoll.poll(0, 1)


def _timerfd_create() -> None:
    os.close(_checked(syscalls.C.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)))


def _timerfd_settime() -> None:
    time = syscalls.ffi.new("struct itimerspec *")
    _checked(syscalls.C.timerfd_settime(NO_DESCRIPTOR, 0, time, syscalls.ffi.NULL))


def _accept4() -> None:
    _checked(syscalls.C.accept4(NO_DESCRIPTOR, syscalls.ffi.NULL, syscalls.ffi.NULL, syscalls.SOCK_CLOEXEC))


def _splice() -> None:
    os.splice(NO_DESCRIPTOR, NO_DESCRIPTOR, 1)


def _recvmmsg() -> None:
    slots = syscalls.ffi.new("struct mmsghdr[]", 1)
    _checked(syscalls.C.recvmmsg(NO_DESCRIPTOR, slots, 1, 0, syscalls.ffi.NULL))


def _sendmmsg() -> None:
    slots = syscalls.ffi.new("struct mmsghdr[]", 1)
    _checked(syscalls.C.sendmmsg(NO_DESCRIPTOR, slots, 1, 0))


def _sendmsg() -> None:
    _checked(syscalls.C.sendmsg(NO_DESCRIPTOR, syscalls.ffi.new("struct msghdr *"), 0))


_ATTEMPTS: Final[dict[str, Callable[[], None]]] = {
    "epoll": _epoll,
    "timerfd_create": _timerfd_create,
    "timerfd_settime": _timerfd_settime,
    "accept4": _accept4,
    "splice": _splice,
    "recvmmsg": _recvmmsg,
    "sendmmsg": _sendmmsg,
    "sendmsg": _sendmsg,
}
