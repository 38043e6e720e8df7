"""Sockets that another process opened and passed to this one, as systemd does (sd_listen_fds(3)).

The other process chose mode, path, backlog and buffers. This module changes none of them: it binds no socket and
removes no path. It derives the transport from the socket itself.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from echod.address import BACKLOG, Address
from echod.escaping import clipped, escaped
from echod.socket_names import inet_name, unix_name
from echod.transports.transport import INET_FAMILIES, every_transport

FIRST: Final = 3  # SD_LISTEN_FDS_START of <systemd/sd-daemon.h>
RESTART: Final = "descriptors are passed only when the daemon starts; restart it"
NAMELESS: Final = "unknown"  #: the name of a descriptor without a name, as in sd_listen_fds_with_names(3)
VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
MOST: Final = 4096  #: descriptors accepted at most: the usual limits of open files allow few more


@dataclass(frozen=True)
class Descriptor:
    """One descriptor that was passed to this process."""

    name: str  #: its `FileDescriptorName=`
    number: int
    identity: tuple[int, int]  #: device and inode, to see whether the number still belongs to the same file

    def still_there(self) -> bool:
        """Whether the descriptor is still open; its number may have been reused for another file."""
        return _identity(self.number) == self.identity


class Passed:
    """The descriptors that were passed to this process; `why` is the reason if the list is empty."""

    def __init__(self, descriptors: Iterable[Descriptor] = (), why: str = "") -> None:
        self._descriptors = list(descriptors)
        self._why = why

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the descriptors that were not taken yet."""
        return tuple(dict.fromkeys(one.name for one in self._descriptors))

    def take(self, name: str) -> list[socket.socket]:
        """Return every socket of that name, ready to be served, in the order of their numbers. The caller owns them.

        Raises OSError, with a message for the administrator, if the name was not passed or a socket cannot be served.
        """
        taken = [one for one in self._descriptors if one.name == name]
        if not taken:
            known = ", ".join(map(escaped, self.names))
            raise OSError(None, self._why or f"no descriptor of that name was passed; passed names: {known or 'none'}")
        self._descriptors = [one for one in self._descriptors if one.name != name]
        sockets: list[socket.socket] = []
        try:
            for one in taken:
                sockets.append(_adopted(one.number))
        except OSError:
            for adopted in sockets:
                adopted.close()
            raise
        return sockets

    def drop(self, name: str) -> None:
        """Close every descriptor of that name."""
        for one in self._descriptors:
            if one.name == name and one.still_there():
                os.close(one.number)
        self._descriptors = [one for one in self._descriptors if one.name != name]

    def close_rest(self) -> list[str]:
        """Close the descriptors that were not taken. Return a log line for each."""
        rest = [one for one in self._descriptors if one.still_there()]
        self._descriptors, self._why = [], RESTART
        for one in rest:
            os.close(one.number)
        unused = "was passed, but no listener uses it; closed"
        return [f"descriptor {one.number} ({escaped(one.name)}) {unused}" for one in rest]


def passed(environ: MutableMapping[str, str]) -> Passed:
    """The descriptors that were passed to this process. Call it once: it removes the variables that describe them.

    Importing twisted.internet.endpoints removes two of the variables. Then the environment at the start of the process
    is read instead.
    """
    variables = environ if "LISTEN_PID" in environ else _first_environment()
    descriptors, why = _listed(variables, os.getpid())
    for name in VARIABLES:
        environ.pop(name, None)
    for one in descriptors:
        os.set_inheritable(one.number, False)
    return Passed(descriptors, why)


def _listed(environ: Mapping[str, str], pid: int) -> tuple[list[Descriptor], str]:
    """The open descriptors that the variables describe, or an empty list and the reason."""
    by = "start it by its socket unit, or by systemd-socket-activate"
    if "LISTEN_PID" not in environ:
        return [], f"no descriptors were passed (LISTEN_PID is not set); {by}"
    if environ["LISTEN_PID"] != str(pid):
        return [], f"the descriptors were passed to another process (LISTEN_PID is not {pid}); {by}, in the foreground"
    count = environ.get("LISTEN_FDS", "")
    if not count.isascii() or not count.isdecimal() or len(count) > 5 or int(count) > MOST:
        return [], f"LISTEN_FDS={clipped(count, 40)} is not a number from 0 to {MOST}"
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (int(count) - len(names))
    found = []
    for at in range(int(count)):
        if identity := _identity(FIRST + at):
            found.append(Descriptor(names[at] or NAMELESS, FIRST + at, identity))
    return found, ""


def _first_environment() -> dict[str, str]:
    """The environment that this process was started with (proc(5)); empty if it cannot be read."""
    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:
        return {}
    texts = [item.decode("utf-8", "surrogateescape").partition("=") for item in block.split(b"\0") if item]
    return {name: value for name, _, value in texts}


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        there = os.fstat(descriptor)
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _adopted(descriptor: int) -> socket.socket:
    """The socket of a descriptor, ready to be served. If it cannot be served, it is closed, and this raises OSError."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(None, f"descriptor {descriptor} is not a socket")
    adopted = socket.socket(fileno=descriptor)
    try:
        _make_ready(adopted)
    except BaseException:
        adopted.close()
        raise
    return adopted


def _make_ready(adopted: socket.socket) -> None:
    transport = transport_for(adopted)
    if transport is None:
        raise OSError(None, _why_not(adopted))
    if transport.shape.has_connections:
        _make_listen(adopted)
    transport.prepare(adopted)
    adopted.setblocking(False)


def transport_for(adopted: socket.socket) -> Any:
    """The transport of an open socket, or None."""
    return next((one for one in every_transport().values() if one.recognises(adopted)), None)


def _why_not(adopted: socket.socket) -> str:
    """A message for a socket that no transport supports."""
    if adopted.family not in (*INET_FAMILIES, socket.AF_UNIX):
        return f"a socket of family {int(adopted.family)} is not served; pass TCP, UDP or Unix"
    if adopted.type is socket.SOCK_STREAM:
        return f"a stream of protocol {adopted.proto} is not served; pass TCP"
    if adopted.type is socket.SOCK_DGRAM:
        return f"datagrams of protocol {adopted.proto} are not served; pass UDP"
    return f"a socket of type {int(adopted.type)} is not served; pass a stream, seqpacket or datagram socket"


def _make_listen(adopted: socket.socket) -> None:
    """Listen, unless the socket listens already: a second listen() would change its backlog."""
    if adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return
    try:
        adopted.getpeername()
    except OSError:
        adopted.listen(BACKLOG)
    else:
        raise OSError(None, "a connection was passed, not a listener; its unit needs Accept=no")


def address_of(adopted: socket.socket) -> Address:
    """The address that a listener with this socket would have in the configuration."""
    scheme = transport_for(adopted).scheme
    name = adopted.getsockname()
    if adopted.family is socket.AF_UNIX:
        return Address(scheme, path=unix_name(name).path)
    if adopted.family is socket.AF_INET:
        return Address(scheme, name[0], name[1])
    host, port = name[:2]
    if host == "::" and not adopted.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return Address(scheme, "*", port)
    return Address(scheme, inet_name(name).host, port)
