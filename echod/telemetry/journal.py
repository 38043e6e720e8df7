"""Sends entries with fields to the journal of systemd, as the page `Native Journal Protocol` of systemd specifies."""

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

from echod.escaping import escaped

SOCKET: Final = "/run/systemd/journal/socket"
VARIABLE: Final = "JOURNAL_STREAM"  #: device and inode of the stream of a unit's output (systemd.exec(5))
PRIORITIES: Final[Mapping[str, int]] = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}  # syslog(3)
PATIENCE: Final = 1.0  #: seconds to wait for a busy journal; other lines are queued meanwhile

SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
TOO_LARGE: Final = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


class Journal:
    """The socket of the journal, opened for the first entry."""

    def __init__(self, where: str = SOCKET) -> None:
        self._where = where
        self._socket: socket.socket | None = None

    @property
    def there(self) -> bool:
        """Whether the socket of the journal exists now."""
        try:
            return stat.S_ISSOCK(os.stat(self._where).st_mode)
        except OSError:
            return False

    def send(self, entry: bytes) -> None:
        """Send one entry, and wait for at most PATIENCE seconds. Raises OSError if the entry is lost."""
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
        """Close the socket. The next entry opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_file(self, through: socket.socket, entry: bytes) -> None:
        """Send an entry that is too large for a datagram, as a sealed file in memory (memfd_create(2))."""
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
    """Whether a descriptor is connected to the journal, which makes an entry of each line (JOURNAL_STREAM)."""
    try:
        there = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get(VARIABLE) == f"{there.st_dev}:{there.st_ino}"


def entry(level: str, message: str, fields: Mapping[str, Any]) -> bytes:
    """Encode one entry: the message, its priority, and each field as ECHOD_NAME."""
    parts = {"MESSAGE": message, "PRIORITY": PRIORITIES[level], "SYSLOG_IDENTIFIER": "echod"}
    parts |= {f"ECHOD_{name.upper()}": value for name, value in fields.items()}
    return b"".join(
        _field(name, json.dumps(value) if isinstance(value, dict) else str(value)) for name, value in parts.items()
    )


def _field(name: str, value: str) -> bytes:
    """`NAME=value`. An escaped value has no line feed, so the binary form is not needed."""
    return f"{name}={escaped(value)}\n".encode("utf-8", "backslashreplace")


def prefixed(level: str, message: str) -> str:
    """A line that starts with its priority, for a service manager that reads standard error (sd-daemon(3))."""
    return f"<{PRIORITIES[level]}>{escaped(message)}"
