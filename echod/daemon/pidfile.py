"""The pidfile: written by echod rather than by twistd, and stale unless the process that it names wrote it.

twistd would write it as root through a symbolic link. It would also take any process that has the number of a daemon
that died for that daemon.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from echod.daemon.privileges import Identity
from echod.daemon.root_log_and_pidfile import opening

LONGEST: Final = 32  #: bytes of a number and its line end
SLACK: Final = 5.0
"""Seconds that a process may be younger than its file: start times have the resolution of a clock tick, and the clock
may have been stepped by NTP in between."""
PROGRAMS: Final = ("echod", "twistd")  #: one of these is in the command line of every echod daemon


class Pidfile:
    """One pidfile, by its absolute path; `identity` is the later user of a start as root."""

    def __init__(self, path: str, identity: Identity | None) -> None:
        self.path = path
        self._identity = identity
        self._descriptor = -1

    def remove_stale(self) -> None:
        """Remove it if the process that wrote it has ended. Raises OSError."""
        with opening(self.path, self._identity):
            if is_stale(self.path):
                with suppress(FileNotFoundError):
                    os.unlink(self.path)

    def check(self) -> None:
        """Check that it can be created, before the process forks. Raises OSError with the reason if it cannot."""
        folder = os.path.dirname(self.path)
        with opening(self.path, self._identity):
            os.stat(os.path.join(folder, "."))
            if os.path.lexists(self.path):
                raise FileExistsError(errno.EEXIST, "the pidfile exists and is not stale", self.path)
            if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.path)

    def write(self) -> None:
        """Create it with the number of this process. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with opening(self.path, self._identity):
            self._descriptor = os.open(self.path, flags, 0o644)
        os.write(self._descriptor, b"%d" % os.getpid())

    def remove(self) -> None:
        """Remove it, if it is still the file that this process wrote. If that is not permitted, empty it: an empty
        pidfile is stale."""
        if self._descriptor < 0:
            return
        ours = os.fstat(self._descriptor)
        with suppress(OSError):
            there = os.lstat(self.path)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                try:
                    os.unlink(self.path)
                except OSError:
                    os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = -1


def pidfile_of(twistd: MutableMapping[str, Any] | None, identity: Identity | None) -> Pidfile | None:
    """The pidfile of twistd's options, or None. A stale one is removed before twistd reads it.

    With `--chroot` its path has another meaning, and twistd writes it.
    """
    name = twistd.get("pidfile") if twistd is not None else None
    if twistd is None or not name or twistd.get("chroot"):
        return None
    pidfile = Pidfile(os.path.abspath(os.path.join(twistd.get("rundir") or ".", name)), identity)
    with suppress(OSError):  # `check` reports the error
        pidfile.remove_stale()
    return pidfile


def is_stale(path: str) -> bool:
    """Whether a pidfile is empty, or names a process that cannot have written it: one that does not exist, this one,
    another program, or one that is younger than the file. A file with anything except a number is not a pidfile.

    Raises OSError; FileNotFoundError if it does not exist.
    """
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        there = os.fstat(opened)
        text = os.read(opened, LONGEST).strip() if stat.S_ISREG(there.st_mode) else b"-"
    finally:
        os.close(opened)
    if not text:
        return True
    if not text.isdigit():
        return False
    number = int(text)
    if number == os.getpid():
        return True
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # it runs, as another user
    if number == 0:
        return True
    return not _may_have_written(number, there.st_mtime)


def _may_have_written(number: int, written: float) -> bool:
    """Whether a process is an echod daemon that ran at this time. True if /proc cannot be read."""
    process = Path(f"/proc/{number}")
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        after_name = (process / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return True
    if not any(name.encode() in word for word in words for name in PROGRAMS):  # a zombie has no words
        return False
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_REALTIME) - age <= written + SLACK
