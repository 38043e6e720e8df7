"""Which user opens a path: root in folders that only root can write, and the later owner in all other folders.

A user who can write a folder can replace a path there by a symbolic link, or by a socket of root. Root would then open,
create or chown a different file from the one that the path names. The user itself has no rights on such a file.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS: Final = 40  #: symbolic links that Linux follows in one path (path_resolution(7))


def only_root_writes(folder: str) -> bool:
    """Whether only root can change where each component of a folder's absolute path leads.

    A parent may be writable if it is sticky, as /tmp is: other users cannot rename root's files there. The folder
    itself may not be writable by other users.
    """
    rest = [part for part in reversed(folder.split("/")) if part]
    at, links = "/", 0
    while True:
        try:
            here = os.lstat(at)
        except OSError:
            return False
        if here.st_uid != 0:
            return False
        if stat.S_ISLNK(here.st_mode):
            links += 1
            if links > _MOST_LINKS:
                return False
            target = os.readlink(at)
            rest += [part for part in reversed(target.split("/")) if part]
            at = "/" if target.startswith("/") else os.path.dirname(at)
            continue
        if not stat.S_ISDIR(here.st_mode) or (here.st_mode & _OTHERS and not (rest and here.st_mode & stat.S_ISVTX)):
            return False
        if not rest:
            return True
        part = rest.pop()
        at = os.path.dirname(at) if part == ".." else at if part == "." else os.path.join(at, part)


@contextmanager
def acting_as(user: int, group: int, groups: Sequence[int] | None = None) -> Iterator[None]:
    """Run the block with this effective user, group and supplementary groups. Only for root, in the main thread.

    Without `groups`, the user database supplies the supplementary groups. Raises OSError.
    """
    before_group, before_groups = os.getegid(), os.getgroups()
    try:
        os.setgroups(groups_of(user, group) if groups is None else groups)
        os.setegid(group)
        os.seteuid(user)
        yield
    finally:
        os.seteuid(0)
        os.setegid(before_group)
        os.setgroups(before_groups)


def groups_of(user: int, group: int) -> list[int]:
    """Every group of a user, from the user database; only `group` if the database does not have the user."""
    try:
        return os.getgrouplist(pwd.getpwuid(user).pw_name, group)
    except KeyError:
        return [group]
