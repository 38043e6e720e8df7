"""Landlock: the kernel confines this process to the files and ports of its configuration.

The numbers are from <linux/landlock.h>; landlock(7) lists the accesses that each version of the interface knows.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import twisted

from echod import version
from echod.config.settings import Configuration
from echod.daemon.bind import BoundSocket, ListenSpec
from echod.daemon.privilege_syscalls import PR_SET_NO_NEW_PRIVS, Kernel

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
VERSION: Final = 1  #: the flag that requests the version of the interface
PATH_BENEATH, NET_PORT = 1, 2

EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
REMOVE_FILE: Final = 1 << 5
MAKE_REG: Final = 1 << 8
MAKE_SOCK: Final = 1 << 9
TRUNCATE: Final = 1 << 14
IOCTL_DEV: Final = 1 << 15
OF_FILES: Final = 1 | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  #: accesses that a rule for a file may have
BIND_TCP, CONNECT_TCP = 1 << 0, 1 << 1
SIGNAL: Final = 1 << 1

FILES: Final[Mapping[int, int]] = {1: (1 << 13) - 1, 2: 1 << 13, 3: TRUNCATE, 5: IOCTL_DEV}
"""The accesses to files that each version added. All that the kernel knows are forbidden, except by a rule."""

READ: Final = READ_FILE | READ_DIR
WRITE: Final = READ | WRITE_FILE | TRUNCATE | REMOVE_FILE | MAKE_REG

SYSTEM: Final = ("/usr", "/lib", "/lib32", "/lib64", "/etc", "/proc", "/run/systemd/resolve", "/dev/urandom")
"""Read by Python and the C library while they run: modules; host, user and service names; time zones."""
FOLDERS: Final = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "LOGS_DIRECTORY")  #: set by a unit (systemd.exec(5))


class LandlockUnavailable(Exception):
    """The kernel does not offer Landlock, or forbids its use; the message says which."""


@dataclass(frozen=True)
class Rules:
    """The accesses that stay allowed."""

    paths: Mapping[str, int] = field(default_factory=dict)  #: the accesses to each path and everything beneath it
    ports: frozenset[int] = frozenset()  #: TCP ports that may be bound; 0 is any port that the kernel chooses
    connects: frozenset[int] = frozenset()  #: TCP ports of other hosts


def rules_of(
    configuration: Configuration,
    bound: Iterable[BoundSocket],
    writes: Iterable[str],
    environ: Mapping[str, str],
    awaited: Iterable[ListenSpec] = (),
    executes: Iterable[str] = (),
) -> Rules:
    """The rules for a daemon with this configuration, which it can read again.

    `writes` are files that the daemon reopens or removes, `awaited` are addresses that it will bind later, `executes`
    the programs that it starts. The rules name the folders of files rather than the files: an editor replaces a file by
    another.
    """
    paths: dict[str, int] = {}

    def allow(path: str | Path, access: int) -> None:
        absolute = os.path.abspath(path)
        if os.path.realpath(absolute) != "/":  # a rule for / would allow everything
            paths[absolute] = paths.get(absolute, 0) | access

    def allow_beside(file: str | Path, access: int) -> None:
        folder = os.path.dirname(os.path.abspath(file))
        allow(file if os.path.realpath(folder) == "/" else folder, access)

    for folder in (*SYSTEM, sys.prefix, sys.base_prefix, *_of_modules()):
        allow(folder, READ)
    allow("/dev/null", READ_FILE | WRITE_FILE)
    for file in (*configuration.sources, *_files((configuration.services, configuration.bus))):
        allow_beside(file, READ)
        allow_beside(os.path.realpath(file), READ)  # certbot renews a certificate by another target of the link
    for program in executes:
        allow(program, READ_FILE | EXECUTE)
        allow(Path(version.__file__).parents[1], READ_DIR)  # it imports this package again; names only
    for written in writes:
        allow_beside(written, WRITE)
    for given in (environ.get(name, "").split(":") for name in FOLDERS):
        for folder in filter(None, given):
            allow(folder, WRITE | MAKE_SOCK)
    ports: set[int] = set()
    for one in bound:
        if one.path is not None and not one.address.path.startswith("@"):
            allow(Path(one.address.system_path).parent, READ | MAKE_SOCK | REMOVE_FILE)
        elif one.transport.shape.has_connections and not one.address.has_path:
            ports |= {one.spec.address.port, int(one.socket.getsockname()[1])}
    ports |= {spec.address.port for spec in awaited if spec.address.shape.has_connections}
    url = configuration.bus.url
    return Rules(paths, frozenset(ports), frozenset([url.port] if url is not None else []))


def _of_modules() -> Iterator[str]:
    """The folders of Python's modules, and of the packages echod and twisted, but not the working folder: Python may
    search it first."""
    here = os.path.realpath(".")
    yield from (folder for folder in sys.path if folder and os.path.realpath(folder) != here)
    yield os.path.dirname(version.__file__)
    yield from twisted.__path__


def _files(of: Any) -> Iterator[Path]:
    """Every path that a part of the configuration holds."""
    if isinstance(of, Path):
        yield of
    elif isinstance(of, tuple):
        for one in of:
            yield from _files(one)
    elif is_dataclass(of) and not isinstance(of, type):
        for one in fields(of):
            yield from _files(getattr(of, one.name))


def confine(rules: Rules) -> int:
    """Confine this thread, and all threads and processes that it starts, to the rules. It cannot be undone.

    Returns the version of the interface. Raises LandlockUnavailable, or OSError if the kernel refuses the rules.
    """
    try:
        kernel = Kernel()
        version = kernel.syscall(CREATE_RULESET, kernel.ffi.NULL, 0, VERSION)
    except OSError as error:  # not built in, not enabled, or forbidden by a system call filter
        name = errno.errorcode.get(error.errno or 0, "no cffi")
        raise LandlockUnavailable(
            f"this kernel does not offer Landlock ({name}): the process is not confined"
        ) from error
    files = sum(bits for since, bits in FILES.items() if since <= version)
    attributes = [files]
    if version >= 4:
        attributes.append(BIND_TCP | CONNECT_TCP)
    if version >= 6:
        attributes.append(SIGNAL)
    buffer = kernel.ffi.from_buffer(struct.pack(f"{len(attributes)}Q", *attributes))
    ruleset = kernel.syscall(CREATE_RULESET, buffer, len(buffer), 0)
    try:
        for path, access in rules.paths.items():
            _allow_path(kernel, ruleset, path, access & files)
        if version >= 4:
            for port in rules.ports:
                _add(kernel, ruleset, NET_PORT, struct.pack("QQ", BIND_TCP, port))
            for port in rules.connects:
                _add(kernel, ruleset, NET_PORT, struct.pack("QQ", CONNECT_TCP, port))
        kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)
        kernel.syscall(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def forbid_execution() -> None:
    """Let this process start no program. Raises OSError; Landlock must be available."""
    kernel = Kernel()
    buffer = kernel.ffi.from_buffer(struct.pack("Q", EXECUTE))
    ruleset = kernel.syscall(CREATE_RULESET, buffer, len(buffer), 0)
    try:
        kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)
        kernel.syscall(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_path(kernel: Kernel, ruleset: int, path: str, access: int) -> None:
    try:
        held = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # a path that does not exist needs no rule
    try:
        if not stat.S_ISDIR(os.fstat(held).st_mode):
            access &= OF_FILES
        _add(kernel, ruleset, PATH_BENEATH, struct.pack("=Qi", access, held))
    finally:
        os.close(held)


def _add(kernel: Kernel, ruleset: int, kind: int, rule: bytes) -> None:
    kernel.syscall(ADD_RULE, ruleset, kind, kernel.ffi.from_buffer(rule), 0)
