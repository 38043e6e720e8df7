"""Paths of Unix sockets: created in one step, with the configured mode, without replacing a path that is in use.

A stream socket is bound beside its path, given its owner, made to listen, and then renamed to the path. So a client
that sees the path can connect. A stale path of a dead process is replaced in one step. The kernel keeps the name of
the bind (unix(7)), and ss(8) shows that name. echod reports the path to peers.

A datagram socket is bound at its path directly, because peers see the kernel's name. Programs such as socat accept
replies only from the path that they sent to. Until the socket has its owner, no other user can write to it.
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
LONGEST: Final = 107  #: bytes of a path in struct sockaddr_un
LARGEST_ID: Final = 2**32 - 2  #: of a user or a group: for chown(2), 2**32 - 1 means "no change"

Identity = tuple[int, int]  # device and inode


def unix_sockets(
    address: Address,
    kind: socket.SocketKind,
    prepare: Callable[[socket.socket], None] = lambda _: None,
    listen: Callable[[socket.socket], None] = lambda _: None,
) -> Iterator[socket.socket]:
    """Yield one non-blocking socket that is bound to the path of an address.

    `prepare` sets options before the bind. `listen` is called before clients can see the path. Raises OSError.
    """
    opened = socket.socket(socket.AF_UNIX, kind)
    try:
        prepare(opened)
        bind_path(opened, address, lambda: listen(opened))
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    yield opened


def bind_path(opened: socket.socket, address: Address, prepare: Callable[[], None]) -> None:
    """Bind a Unix socket to its path, with mode and owner; `prepare` makes a stream listen.

    A stale socket of a dead process is replaced. A path that is not a socket, or that another process serves, is not
    changed. If users other than root can write the folder, root binds as the user that will own the path. Otherwise
    that user could replace the path, and root would change the owner of another file. Raises OSError.
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
    """The user and the group that will own a path that root binds."""
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
    if _stale(beside, opened.type):  # left by a killed process that had our process ID
        os.unlink(beside)
    with _bound(opened, beside, address):
        prepare()
        if identity(path) != before:
            raise OSError(errno.EADDRINUSE, "another process has just created this path", path)
        os.rename(beside, path)


def identity(path: str) -> Identity | None:
    """Device and inode of a path, without following a link; None if the path does not exist."""
    try:
        there = os.lstat(path)
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _check_parent(path: str) -> None:
    """Raise OSError if every user may rename and remove paths in the folder: each could replace our socket."""
    parent = os.path.dirname(path) or "."
    mode = os.stat(parent).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise OSError(errno.EPERM, "its folder is writable by all users; run chmod o-w, or chmod +t (sticky)", parent)


def _stale(path: str, kind: socket.SocketKind) -> Identity | None:
    """Device and inode of a stale socket; None if the path does not exist. Raises OSError if it is in use."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISSOCK(there.st_mode):
        raise OSError(errno.EEXIST, "the path exists and is not a socket; expected a socket or no file", path)
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
    """Bind, and set mode and owner. If this or the block fails, the path is removed."""
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
    """Set owner and mode of the socket at a path. It never follows a path that is replaced in the meantime."""
    held = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        has = os.fstat(held)
        if not stat.S_ISSOCK(has.st_mode) or has.st_uid != os.geteuid():
            raise OSError(errno.EADDRINUSE, "another process has just created this path", path)
        itself = f"/proc/self/fd/{held}"
        # If the owner is right already, chown(2) is not needed, and it may not be allowed.
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
    """Options of an address with user and group as numbers. May query a directory service and block. Raises OSError."""
    numbers = dict(options)
    for what in ("user", "group"):
        name = str(options.get(what, 0))
        if name.isascii() and name.isdecimal():
            if len(name) > len(str(LARGEST_ID)) or int(name) > LARGEST_ID:
                raise OSError(errno.EINVAL, f"{what} {name} is out of range (0–{LARGEST_ID})")
        else:
            try:
                number = pwd.getpwnam(name).pw_uid if what == "user" else grp.getgrnam(name).gr_gid
            except KeyError:
                raise OSError(errno.EINVAL, f"{what} {name} does not exist") from None
            numbers[what] = str(number)
    return numbers


class OwnPath:
    """The path of a socket that echod bound. It is removed at the end if its device and inode are unchanged."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = None if path.startswith("\0") else identity(path)

    def remove(self) -> None:
        """Remove the path, unless a successor has replaced it. Call it before the socket closes: inodes are reused."""
        if self._identity is not None and identity(self._path) == self._identity:
            try:
                os.unlink(self._path)
            except OSError:
                pass  # the folder is not writable any more: the next start replaces the stale path
