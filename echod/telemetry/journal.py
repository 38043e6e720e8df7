"""The journal of systemd: entries with fields of their own, as `Native Journal Protocol` of systemd describes them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
from array import array
from collections.abc import Mapping
from typing import Any, Final

from echod.text import escaped

SOCKET: Final = "/run/systemd/journal/socket"
VARIABLE: Final = "JOURNAL_STREAM"  #: device and inode of what a unit's output is connected to (systemd.exec(5))
PRIORITIES: Final[Mapping[str, int]] = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}  # syslog(3)
PATIENCE: Final = 1.0  #: seconds that an entry has: the journal is busy, and other lines wait behind it

SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
TOO_LARGE: Final = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


class Journal:
    """Where entries go."""

    def __init__(self, where: str = SOCKET) -> None:
        self._where = where
        self._socket: socket.socket | None = None

    @property
    def there(self) -> bool:
        """Whether there is a journal now."""
        try:
            return stat.S_ISSOCK(os.stat(self._where).st_mode)
        except OSError:
            return False

    def send(self, entry: bytes) -> None:
        """Write one entry; it waits for PATIENCE at most. Raises OSError where it is lost."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(PATIENCE)
        try:
            self._socket.sendto(entry, self._where)
        except OSError as error:
            if error.errno not in TOO_LARGE:
                raise
            self._send_file(self._socket, entry)

    def close(self) -> None:
        """Give the socket back; another entry would open it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_file(self, through: socket.socket, entry: bytes) -> None:
        """What does not fit a datagram goes as a file in memory, that nobody can change any more."""
        file = os.memfd_create("echod-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            rest = memoryview(entry)
            while rest:
                rest = rest[os.write(file, rest) :]
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [file]))]
            through.sendmsg([], rights, 0, self._where)
        finally:
            os.close(file)


def is_journal(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Whether what is written to a descriptor becomes entries of the journal by itself."""
    try:
        there = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get(VARIABLE) == f"{there.st_dev}:{there.st_ino}"


def entry(level: str, message: str, fields: Mapping[str, Any]) -> bytes:
    """One entry: the message, its importance, and each field as ECHOD_NAME."""
    parts = {"MESSAGE": message, "PRIORITY": PRIORITIES[level], "SYSLOG_IDENTIFIER": "echod"}
    parts |= {f"ECHOD_{name.upper()}": value for name, value in fields.items()}
    return b"".join(
        _field(name, json.dumps(value) if isinstance(value, dict) else str(value)) for name, value in parts.items()
    )


def _field(name: str, value: str) -> bytes:
    """`NAME=value`: what is escaped has no line feed in it, which would ask for the other form."""
    return f"{name}={escaped(value)}\n".encode("utf-8", "backslashreplace")


def prefixed(level: str, message: str) -> str:
    """A line whose importance who reads our output understands (sd-daemon(3))."""
    return f"<{PRIORITIES[level]}>{escaped(message)}"
