"""Whether the process that listens on a Unix socket may be the daemon: checked before anything is sent to it.

Anyone may listen on a name or path before the daemon does. An administrator would then type into an impostor.
"""

from __future__ import annotations

import os
import pwd
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from echod.address import Address
from echod.peercred import credentials, overflow, own_user
from echod.text import escaped


class Untrusted(Exception):
    """The process that listens belongs to a user that is not trusted; the message says which."""


def check(connection: socket.socket, address: Address, configuration: Path | None) -> None:
    """Accept root, our own user, the owner of the `configuration`, and the owner of the socket's folder if nobody but
    root and that owner can put another socket there. Raises Untrusted.
    """
    told = credentials(connection)
    if told is None:
        raise Untrusted(f"{address.place}: the kernel does not tell who listens there")
    known = {0, own_user(), _owner_of(configuration) if configuration is not None else None}
    if told.user != overflow("uid"):  # the number of every unmapped user identifies nobody
        folder = os.path.dirname(address.system_path)  # "" for an abstract name
        owns_folder = bool(folder) and told.user == _owner_of(Path(folder))
        if told.user in known or (owns_folder and only_writable_by(told.user, folder)):
            return
    raise Untrusted(
        f"{address.place}: user {name_of(told.user)} listens there, who is not trusted: expected root, "
        f"{name_of(os.geteuid())}, or the owner of the configuration or of a folder that nobody else can write to"
    )


def only_writable_by(owner: int, folder: str) -> bool:
    """Whether only root and `owner` can write to a folder and to its parents, links on the way included."""
    try:
        steps = {*_steps(os.path.abspath(folder)), *_steps(os.path.realpath(folder))}
        for step in steps:
            there = os.lstat(step)
            if there.st_uid not in (0, owner):
                return False
            if not stat.S_ISLNK(there.st_mode) and there.st_mode & 0o022:
                return False
    except OSError:
        return False
    return True


def name_of(user: int) -> str:
    """The name of a user, or `user NUMBER`."""
    try:
        return escaped(pwd.getpwuid(user).pw_name)
    except KeyError:
        return str(user)


def _steps(folder: str) -> Iterator[str]:
    yield folder
    while folder != (folder := os.path.dirname(folder)):
        yield folder


def _owner_of(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None
