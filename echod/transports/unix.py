"""Unix stream sockets: paths that are never there half made, and never somebody else's."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IProtocol, IReactorFDSet
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Server as TCPServer
from twisted.internet.unix import Server

from echod.address import BACKLOG, Address
from echod.transports.accept import Reserve, StreamPort
from echod.transports.stream import ServiceFactory

MODE: Final = 0o660


def bind(_reactor: object, address: Address) -> Iterator[socket.socket]:
    """One socket that listens on the path. Raises OSError."""
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bind_path(opened, address, lambda: opened.listen(int(address.options.get("backlog", BACKLOG))))
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    yield opened


def bind_path(opened: socket.socket, address: Address, prepare: Callable[[], None]) -> None:
    """Bind a Unix socket to its path: with its mode from the first moment, then its owner, then listening.

    It is bound under its own name, and not renamed to it: a peer is shown the name of the bind, and whoever sent a
    datagram may take an answer from no other. A path that is no socket is left alone, and so is one that somebody
    serves; what a dead process left is replaced. Raises OSError.
    """
    path = address.path
    if path.startswith("@"):
        opened.bind("\0" + path[1:])
        prepare()
        return
    _check_free(path, opened.type)
    with suppress(FileNotFoundError):
        os.unlink(path)
    with _umask(0o777 & ~int(address.options.get("mode", MODE))):
        opened.bind(path)
    try:
        owner = _user(address.options.get("user")), _group(address.options.get("group"))
        has = os.lstat(path)
        # Who is what was asked already may be where chown(2) is not allowed.
        if any(wanted not in (-1, now) for wanted, now in zip(owner, (has.st_uid, has.st_gid), strict=True)):
            os.chown(path, *owner, follow_symlinks=False)  # by name, and only ever of what stands there itself
        prepare()
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise


def _check_free(path: str, kind: socket.SocketKind) -> None:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        raise OSError(errno.EEXIST, "a file that is no socket is there, and is left alone", path)
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(path)
    if result not in (errno.ECONNREFUSED, errno.ENOENT):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _user(name: str | int | None) -> int:
    if name is None:
        return -1
    try:
        return int(name) if str(name).isdecimal() else pwd.getpwnam(str(name)).pw_uid
    except KeyError:
        raise OSError(errno.EINVAL, f"there is no user {name}") from None


def _group(name: str | int | None) -> int:
    if name is None:
        return -1
    try:
        return int(name) if str(name).isdecimal() else grp.getgrnam(str(name)).gr_gid
    except KeyError:
        raise OSError(errno.EINVAL, f"there is no group {name}") from None


class OwnPath:
    """The path of a socket that we bound: removed at the end, if it is still ours by device and inode."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = None if path.startswith("@") else self._look()

    def remove(self) -> None:
        """Remove the path, unless a successor has taken it; its socket is closed."""
        if self._identity is not None and self._look() == self._identity:
            try:
                os.unlink(self._path)
            except OSError:
                pass  # a directory that we may no longer write to: the next start replaces the stale path

    def _look(self) -> tuple[int, int] | None:
        try:
            there = os.lstat(self._path)
        except OSError:
            return None
        return there.st_dev, there.st_ino


class UnixTransport(Server):
    """Octets only: descriptors that somebody sends along are closed by the kernel, for recv does not take them."""

    doRead = TCPServer.doRead  # type: ignore[assignment]  # _AbortingMixin declares it without a type
    writeSomeData = TCPServer.writeSomeData


class UnixPort(StreamPort):
    """A listening Unix stream socket."""

    transport = UnixTransport

    def peer_address(self, name: Any) -> tuple[UNIXAddress, Any]:
        """Most peers have no name."""
        return UNIXAddress(name or None), name


def port(
    reactor: IReactorFDSet,
    bound: socket.socket,
    _address: Address,
    factory: ServiceFactory,
    reserve: Reserve,
    close: Callable[[], None],
) -> StreamPort:
    """The port that serves a listening socket, once it is told to startListening, and calls `close` at the end."""
    return UnixPort(reactor, bound, factory, reserve, close)


def dial(reactor: Any, address: Address, factory: Factory, timeout: float) -> Deferred[IProtocol]:
    """Connect to a path; `timeout` is seconds. The Deferred fails with Twisted's ConnectError."""
    path = "\0" + address.path[1:] if address.path.startswith("@") else address.path
    connected: Deferred[IProtocol] = UNIXClientEndpoint(reactor, path, timeout=int(timeout) or 1).connect(factory)
    return connected
