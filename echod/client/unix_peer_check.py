"""Checks that the process that listens on a Unix socket may be the daemon, before anything is sent to it.

Any user may listen on a name or path before the daemon does. An administrator would then send input to an impostor.
"""

from __future__ import annotations

import os
import pwd
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from echod.address import Address
from echod.escaping import escaped
from echod.peercred import credentials, overflow, own_user


class Untrusted(Exception):
    """The listening process belongs to a user that is not trusted; the message names the user."""


def check(connection: socket.socket, address: Address, configuration: Path | None) -> None:
    """Check the user of the process that listens. Raises Untrusted.

    Trusted are root, our own user and the owner of the `configuration`. The owner of the socket's folder is trusted if
    only root and that owner can create sockets there.
    """
    peer = credentials(connection)
    if peer is None:
        raise Untrusted(f"{address.label}: the kernel does not report the user of the listening process")
    known = {0, own_user(), _owner_of(configuration) if configuration is not None else None}
    if peer.user != overflow("uid"):  # all unmapped users share this number
        folder = os.path.dirname(address.system_path)  # "" for an abstract name
        owns_folder = bool(folder) and peer.user == _owner_of(Path(folder))
        if peer.user in known or (owns_folder and only_writable_by(peer.user, folder)):
            return
    raise Untrusted(
        f"{address.label}: the listening process belongs to user {name_of(peer.user)}, not trusted: expected "
        f"{' or '.join(dict.fromkeys((name_of(0), name_of(os.geteuid()))))}, or the owner of the configuration or of "
        f"a folder that only the owner can write to; run this as {name_of(peer.user)} if you trust it"
    )


def only_writable_by(owner: int, folder: str) -> bool:
    """Whether only root and `owner` can write to a folder and its parents, including the targets of links."""
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
    """The name of a user, or the number if it has no name."""
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
