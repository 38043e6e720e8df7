"""The log and the pidfile of a daemon that starts as root and serves as another user.

In a folder that root alone can write, root opens them, follows no symbolic link, and gives away only a regular file
that it has just created. Anywhere else, and for a symbolic link, the later user opens them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from echod.daemon.privileges import Identity
from echod.telemetry.background_writer import open_to_append
from echod.transports.effective_user import acting_as, only_root_writes


def open_log(path: str, identity: Identity | None) -> int:
    """A descriptor that appends to a log. Raises OSError."""
    if identity is None or identity.user == 0 or os.geteuid() != 0:
        return open_to_append(path)
    if only_root_writes(os.path.dirname(path)):
        try:
            return _created(path, identity)
        except FileExistsError:
            pass
        try:
            return open_to_append(path, os.O_NOFOLLOW, create=False)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
    with acting_as(identity.user, identity.group, identity.groups):
        return open_to_append(path)


def _created(path: str, identity: Identity) -> int:
    opened = open_to_append(path, os.O_EXCL | os.O_NOFOLLOW)
    try:
        if stat.S_ISREG(os.fstat(opened).st_mode):
            os.fchown(opened, identity.user, identity.group)
    except BaseException:
        os.close(opened)
        raise
    return opened


@contextmanager
def opening(path: str, identity: Identity | None) -> Iterator[None]:
    """Act as the user that may open this path: the later one, unless root alone can write its folder."""
    mine = identity is None or identity.user == 0 or os.geteuid() != 0
    if identity is None or mine or only_root_writes(os.path.dirname(path)):
        yield
    else:
        with acting_as(identity.user, identity.group, identity.groups):
            yield
