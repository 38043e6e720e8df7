"""Paths of Unix sockets: never there half made, never with a mode that nobody asked for, and never somebody else's.

A stream is bound beside its path, given its owner, made to listen, and then renamed to it: whoever sees the path can
connect, and what a dead process left is replaced in one step. The kernel goes on calling it by the name of the bind
(unix(7)), as ss(8) shows; we tell peers the path.

A datagram socket is bound where it stays, for there the kernel's name is what a peer sees: socat and others take
answers from the path that they sent to, and from no other. Until it has its owner, nobody else may write to it.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

from echod.address import Address
from echod.transports.effective_user import acting_as, only_root_writes

MODE: Final = 0o660
LONGEST: Final = 107  #: octets of a path, of struct sockaddr_un

Identity = tuple[int, int]  # device and inode


def bind_path(opened: socket.socket, address: Address, prepare: Callable[[], None]) -> None:
    """Bind a Unix socket to its path, with mode and owner; `prepare` makes a stream listen.

    A path that is no socket is left alone, and so is one that somebody serves; what a dead process left is replaced.
    In a folder that others than root can write, root binds as the user that will own the path: that user could put
    something else in its way, and root would give that away. Raises OSError.
    """
    path = address.system_path
    if path.startswith("\0"):
        opened.bind(path)
        prepare()
        return
    owner = _owner(address)
    if os.geteuid() == 0 and owner != (0, 0) and not only_root_writes(os.path.dirname(os.path.abspath(path))):
        with acting_as(*owner):
            _bind(opened, replace(address, options=_without_owner(address)), path, prepare)
    else:
        _bind(opened, address, path, prepare)


def _owner(address: Address) -> tuple[int, int]:
    """The user and the group that a path of root's will belong to."""
    user = int(address.options.get("user", 0))
    if "group" in address.options:
        return user, int(address.options["group"])
    return user, os.getegid()


def _without_owner(address: Address) -> dict[str, str | int | bool]:
    return {name: value for name, value in address.options.items() if name not in ("user", "group")}


def _bind(opened: socket.socket, address: Address, path: str, prepare: Callable[[], None]) -> None:
    _check_parent(path)
    before = _stale(path, opened.type)
    beside = f"{path}.{os.getpid()}"
    if opened.type is socket.SOCK_DGRAM or len(os.fsencode(beside)) > LONGEST:
        if before is not None:
            os.unlink(path)
        with _bound(opened, path, address):
            prepare()
        return
    if _stale(beside, opened.type):  # of a start that was killed, by this number
        os.unlink(beside)
    with _bound(opened, beside, address):
        prepare()
        if identity(path) != before:
            raise OSError(errno.EADDRINUSE, "somebody else took the path a moment ago", path)
        os.rename(beside, path)


def identity(path: str) -> Identity | None:
    """What stands at a path, a link itself and not where it leads; None is nothing."""
    try:
        there = os.lstat(path)
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _check_parent(path: str) -> None:
    """Where everybody may rename and remove, everybody could put a socket of theirs in the place of ours."""
    parent = os.path.dirname(path) or "."
    mode = os.stat(parent).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise OSError(errno.EPERM, "everybody may write to its folder, which is not sticky: chmod o-w or +t it", parent)


def _stale(path: str, kind: socket.SocketKind) -> Identity | None:
    """What a dead process left at a path; None is nothing. Raises OSError for whatever may not be replaced."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISSOCK(there.st_mode):
        raise OSError(errno.EEXIST, "a file that is no socket is there, and is left alone", path)
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(path)
    if result == errno.ENOENT:
        return None
    if result != errno.ECONNREFUSED:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)
    return there.st_dev, there.st_ino


@contextmanager
def _bound(opened: socket.socket, path: str, address: Address) -> Iterator[None]:
    """Bind, with the right mode and owner; what fails in the block, or before it, leaves no path behind."""
    mode = int(address.options.get("mode", MODE))
    options = address.options
    owner = int(options.get("user", -1)), int(options.get("group", -1))
    own = owner == (-1, -1)
    with _umask(0o777 & ~(mode if own else mode & 0o700)):
        opened.bind(path)
    try:
        if not own:
            _give(path, owner, mode)
        yield
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise


def _give(path: str, owner: tuple[int, int], mode: int) -> None:
    """Set owner and mode of the socket that stands at a path, whatever takes its place meanwhile."""
    held = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        has = os.fstat(held)
        if not stat.S_ISSOCK(has.st_mode) or has.st_uid != os.geteuid():
            raise OSError(errno.EADDRINUSE, "somebody else took the path a moment ago", path)
        itself = f"/proc/self/fd/{held}"
        # Who is what was asked already may be where chown(2) is not allowed.
        if any(wanted not in (-1, now) for wanted, now in zip(owner, (has.st_uid, has.st_gid), strict=True)):
            os.chown(itself, *owner)
        os.chmod(itself, mode)
    finally:
        os.close(held)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def numeric(options: Mapping[str, str | int | bool]) -> dict[str, str | int | bool]:
    """Options of an address with the number of its user and of its group. May ask others, and block. Raises OSError."""
    numbers = dict(options)
    for what in ("user", "group"):
        name = str(options.get(what, 0))
        if not name.isdecimal():
            try:
                number = pwd.getpwnam(name).pw_uid if what == "user" else grp.getgrnam(name).gr_gid
            except KeyError:
                raise OSError(errno.EINVAL, f"{what} {name} does not exist") from None
            numbers[what] = str(number)
    return numbers


class OwnPath:
    """The path of a socket that we bound: removed at the end, if it is still ours by device and inode."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = None if path.startswith("\0") else identity(path)

    def remove(self) -> None:
        """Remove the path, unless a successor has taken it. Its socket must be open still: a number is given anew."""
        if self._identity is not None and identity(self._path) == self._identity:
            try:
                os.unlink(self._path)
            except OSError:
                pass  # a directory that we may no longer write to: the next start replaces the stale path
