"""The folder that `%t` stands for in an address: where a daemon puts its Unix sockets, and where echoctl looks.

As systemd has it (`%t` in systemd.unit(5)), and for a daemon without systemd the folder of its user.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from echod.transports.registry import SCHEMES

SYSTEM: Final = "/run/echod"  #: of a daemon that systemd or a container started
PREFIX: Final = "%t/"

_kept: Final[list[str]] = []  # the folder that `keep` was called with, if it was


def runtime_dir(environ: Mapping[str, str]) -> str:
    """`$RUNTIME_DIRECTORY`, else `$XDG_RUNTIME_DIR/echod`, else `/tmp/echod-UID`.

    `$XDG_RUNTIME_DIR` is used only if it belongs to the user of this process: su(1) and sudo(8) may leave another one.
    """
    return _kept[0] if _kept else candidates(environ)[0]


def keep(environ: Mapping[str, str]) -> None:
    """Fix `runtime_dir` before this process becomes another user, so that a reload moves no socket."""
    _kept[:] = [runtime_dir(environ)]


def candidates(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Every folder that can have the sockets of a trusted daemon: that of this user first, SYSTEM last."""
    user = os.geteuid()
    found = []
    passed = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # a unit may have several
    if passed.startswith("/"):
        found.append(passed)
    session = environ.get("XDG_RUNTIME_DIR", "")
    if session.startswith("/") and _owner_of(session) == user:
        found.append(os.path.join(session, "echod"))
    return tuple(dict.fromkeys((*found, f"/tmp/echod-{user}", SYSTEM)))


def expanded(address: str, environ: Mapping[str, str] = os.environ) -> str:
    """The URL of a Unix socket with the folder in place of `%t`; any other text as it is."""
    scheme, separator, path = address.partition("://")
    form = SCHEMES.get(scheme)
    if not (separator and form and form.has_path and path.startswith(PREFIX)):
        return address
    return f"{scheme}://{quote(runtime_dir(environ))}/{path.removeprefix(PREFIX)}"


def prepare(folder: str, environ: Mapping[str, str]) -> None:
    """Make the folder if it is that of this user. An administrator makes any other folder.

    Raises OSError if it belongs to another user, or if others may write to it: in /tmp, another user may have made it.
    """
    if folder != runtime_dir(environ) or folder == environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    there = os.lstat(folder)
    if not stat.S_ISDIR(there.st_mode):
        raise OSError(errno.ENOTDIR, "the folder of its sockets is not a folder", folder)
    if there.st_uid != os.geteuid():
        right = f"expected {os.geteuid()}: remove it, or set XDG_RUNTIME_DIR"
        raise OSError(errno.EPERM, f"the folder of its sockets belongs to user {there.st_uid}, {right}", folder)
    if there.st_mode & 0o022:
        raise OSError(
            errno.EPERM, f"other users may write to the folder of its sockets; run chmod go-w {folder}", folder
        )


def _owner_of(folder: str) -> int | None:
    try:
        return os.stat(folder).st_uid
    except OSError:
        return None
