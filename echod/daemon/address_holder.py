"""The error messages for addresses that are already in use, with the processes that hold them, from /proc.

/proc shows the sockets of processes of the same user; root sees those of every process. If no process is found, the
message has a command that prints it.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from echod.address import Address
from echod.escaping import clipped, system_error
from echod.shape import Shape
from echod.socket_names import inet

PROC: Final = Path("/proc")
MOST: Final = 3  #: processes in the message; the processes of a forking server share one socket
COMMAND: Final = 80  #: characters of a command line that are shown
ANY: Final = ("0.0.0.0", "::", "*")
GROUP: Final = 4  #: so many addresses with the same holders share one message: usually another echod has them all
NAMED: Final = 3  #: addresses that such a message names
IN_USE: Final = system_error(OSError(errno.EADDRINUSE, ""))


def messages(taken: Iterable[Address]) -> list[str]:
    """A message for each of these addresses that are in use; one for all that the same processes hold, if many."""
    groups: dict[str, list[Address]] = {}
    for address in taken:
        groups.setdefault(_holders(address), []).append(address)
    found: list[str] = []
    for holders, group in groups.items():
        if len(group) < GROUP:
            found += [f"{one.label}: {IN_USE}; {_held_by(holders, one)}".removesuffix("; ") for one in group]
        else:
            some = ", ".join(one.label for one in group[:NAMED])
            known = f"they are held by {holders}" if holders else "to see what holds them, as root: ss -tulxpn"
            found.append(
                f"{len(group)} addresses are already in use (EADDRINUSE): {some} and {len(group) - NAMED} more; "
                f"{known}; stop that process, or configure other addresses"
            )
    return found


def _holders(address: Address) -> str:
    """The processes that hold an address; "" if none is found."""
    inodes = set(_unix_inodes(address) if address.has_path else _inet_inodes(address))
    processes = list(_processes(inodes)) if inodes else []
    return ", ".join(processes[:MOST]) + (", …" if len(processes) > MOST else "")


def _held_by(holders: str, address: Address) -> str:
    """The end of the message for one address: its holders, or a command that prints them.

    "" for an address without a port or a path.
    """
    if holders:
        return f"it is held by {holders}"
    if address.has_path:
        return f"to see what holds it: ss -xlp src {clipped(address.path)}" if address.path.startswith("/") else ""
    if not address.port:
        return ""
    kind = "t" if address.shape is not Shape.DATAGRAM else "u"
    return f"to see what holds it, as root: ss -{kind}lpn 'sport = :{address.port}'"


def _inet_inodes(address: Address) -> Iterator[int]:
    """The inodes of the sockets at the address, or at a wildcard address that includes it."""
    kind = "udp" if address.shape is Shape.DATAGRAM else "tcp"
    host = address.host.partition("%")[0]
    for name in (kind, f"{kind}6"):
        for columns in _rows(PROC / "net" / name):
            local, port = columns[1].split(":")
            if int(port, 16) == address.port and (_host(local) in (host, *ANY) or host in ANY):
                yield int(columns[9])


def _host(words: str) -> str:
    """The host of an address of /proc/net: 32-bit words in the machine's byte order, as hexadecimal digits."""
    packed = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return inet(socket.inet_ntop(family, packed), 0).host


def _unix_inodes(address: Address) -> Iterator[int]:
    """The inodes of the sockets at a path, and of those that were bound beside it and renamed to it
    (`transports.unix_paths`)."""
    ours = re.compile(re.escape(address.path) + r"(\.[0-9]+)?")
    for columns in _rows(PROC / "net" / "unix", 7):
        if len(columns) > 7 and ours.fullmatch(columns[7]):
            yield int(columns[6])


def _rows(table: Path, splits: int = -1) -> Iterator[list[str]]:
    """The rows of a table below /proc/net, split at most `splits` times; none if it cannot be read."""
    try:
        lines = table.read_text("utf-8", "surrogateescape").splitlines()[1:]
    except OSError:
        return
    yield from (line.split(maxsplit=splits) for line in lines)


def _processes(inodes: set[int]) -> Iterator[str]:
    """Each process that has one of these sockets open, with its command line. Only root sees those of other users."""
    links = {f"socket:[{inode}]" for inode in inodes if inode}
    for folder in sorted(PROC.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            if not links.isdisjoint(_opened(folder / "fd")):
                yield "this daemon" if int(folder.name) == os.getpid() else f"{_command(folder)} (pid {folder.name})"
        except OSError:  # it belongs to another user, or has ended
            continue


def _opened(folder: Path) -> Iterator[str]:
    """The target of each descriptor of a process, except of one that was closed meanwhile. Raises OSError."""
    for entry in os.listdir(folder):
        with suppress(FileNotFoundError):
            yield os.readlink(folder / entry)


def _command(folder: Path) -> str:
    """The command line of a process, or the name of a kernel thread, escaped: a program can change its own."""
    words = (folder / "cmdline").read_text("utf-8", "surrogateescape").split("\0")
    text = " ".join([os.path.basename(words[0]), *words[1:]]).strip()
    return clipped(text or (folder / "comm").read_text("utf-8", "surrogateescape").strip(), COMMAND)
