"""Drops root privileges for good, after the sockets are bound and before the first byte of a client is read."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from echod import runtime_dir
from echod.address import Address
from echod.config.settings import Configuration
from echod.daemon.privilege_syscalls import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_SET_NO_NEW_PRIVS,
    Kernel,
)
from echod.escaping import escaped

CAP_SETGID: Final = 6  # capabilities(7)
CAP_SETUID: Final = 7
MOST_CAPABILITIES: Final = 64  #: bits in a set of them


class IdentityError(Exception):
    """The process cannot become the user or group of the command line; the message says why."""


@dataclass(frozen=True)
class Identity:
    """The user to become, its group, and its supplementary groups, by number."""

    user: int
    group: int
    groups: tuple[int, ...]


def identity_of(user: str | int | None, group: str | int | None) -> Identity | None:
    """The identity of `--uid` and `--gid`, names or numbers; None if the process has it. Raises IdentityError."""
    if user is None and group is None:
        return None
    number = os.geteuid() if user is None else _number(user, "user")
    try:
        entry = pwd.getpwuid(number)
    except KeyError:
        if group is None:
            raise IdentityError(f"--uid {number}: this user does not exist here, so --gid is required") from None
        entry = None
    own = entry.pw_gid if group is None and entry else _number(group or 0, "group")
    groups = tuple(os.getgrouplist(entry.pw_name, own)) if entry and user is not None else (own,)
    wanted = Identity(number, own, groups)
    if (os.getresuid(), os.getresgid()) == ((number,) * 3, (own,) * 3) and number != 0:
        return None
    effective, _, _ = Kernel().capabilities()
    if not all(effective >> capability & 1 for capability in (CAP_SETUID, CAP_SETGID)):
        raise IdentityError(f"--uid {user}: only root can become another user; start it as root, or without --uid")
    return wanted


def _number(text: str | int, what: str) -> int:
    if isinstance(text, int) or (text.isascii() and text.isdecimal()):
        if len(str(text)) <= 10 and 0 <= (number := int(text)) < 2**32 - 1:
            return number
        raise IdentityError(f"--{what[0]}id: {escaped(str(text))} is out of range (0–4294967294)")
    if not text:
        raise IdentityError(f"--{what[0]}id: the name is empty")
    try:
        return pwd.getpwnam(text).pw_uid if what == "user" else grp.getgrnam(text).gr_gid
    except KeyError:
        raise IdentityError(f"--{what[0]}id: {what} {escaped(text)} does not exist") from None


def owning(configuration: Configuration, identity: Identity) -> Configuration:
    """The configuration with this owner for every Unix path that does not have `user` and `group`."""
    options = {"user": str(identity.user), "group": str(identity.group)}

    def owned(listen: tuple[Address, ...]) -> tuple[Address, ...]:
        return tuple(replace(one, options=options | dict(one.options)) if one.has_path else one for one in listen)

    return replace(
        configuration,
        admin=replace(configuration.admin, listen=owned(configuration.admin.listen)),
        services=tuple(replace(one, listen=owned(one.listen)) for one in configuration.services),
    )


def stay_behind(addresses: Iterable[Address]) -> Iterator[str]:
    """A line for each Unix path that cannot be removed at the stop. Call it after `become`."""
    for one in addresses:
        folder = os.path.dirname(one.path)
        if one.has_path and not one.path.startswith("@") and not os.access(folder, os.W_OK | os.X_OK):
            user = user_name(os.geteuid())
            yield f"{one.label} will not be removed at the stop: user {user} may not write to {escaped(folder)}"


def user_name(number: int) -> str:
    """The name of a user, or its number if the user database does not have it."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def become(identity: Identity) -> None:
    """Become this user and group, without capabilities. It cannot be undone. Raises OSError.

    Call it while the process has one thread: other threads would keep their privileges.
    """
    runtime_dir.keep(os.environ)
    kernel = Kernel()
    for capability in range(MOST_CAPABILITIES):
        try:
            kernel.prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:  # EINVAL: beyond the kernel's last one; EPERM: no_new_privs is sufficient
            if error.errno in (errno.EINVAL, errno.EPERM):
                break
            raise
    os.setgroups(identity.groups)
    os.setresgid(identity.group, identity.group, identity.group)
    os.setresuid(identity.user, identity.user, identity.user)
    if identity.user != 0:
        kernel.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        kernel.drop_capabilities()
    kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)
    _check(kernel, identity)


def _check(kernel: Kernel, identity: Identity) -> None:
    """Verify the result of the calls. Raises OSError if a privilege remains."""
    user, group = identity.user, identity.group
    if os.getresuid() != (user,) * 3 or os.getresgid() != (group,) * 3 or set(os.getgroups()) - {*identity.groups}:
        raise OSError(errno.EPERM, "root privileges were not fully dropped")
    if user != 0 and kernel.capabilities() != (0, 0, 0):
        raise OSError(errno.EPERM, "capabilities were not fully dropped")
