"""Which user opens a path: root only in folders that root alone can write, the later owner anywhere else.

A user who can write a folder can put a symbolic link or a socket of root's in the way of a path there. What root then
opens, creates or gives away is not what the path's name says. The user itself can open nothing that is not its own.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS: Final = 40  #: symbolic links of one path that Linux follows (path_resolution(7))


def only_root_writes(folder: str) -> bool:
    """Whether root alone can change what any component of an absolute path of a folder leads to.

    A parent may be sticky, as /tmp is: others cannot rename what root has there. The folder itself may not.
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
    """Let the kernel judge and own what is opened in the block as it would for this user. For root, in the main thread.

    Without `groups` the user has those of the user database. Raises OSError.
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
    """Every group of a user, by the user database; the group alone for a user that it does not have."""
    try:
        return os.getgrouplist(pwd.getpwuid(user).pw_name, group)
    except KeyError:
        return [group]
