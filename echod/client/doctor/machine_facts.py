"""The facts of a machine that the checks read, and the findings that they make.

A check is a function of a configuration and a `Machine`. It reads nothing itself, so tests make up a machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from echod.measurement.clock_quality import ClockQuality

Severity = Literal["error", "warning", "notice"]
PROBLEMS: Final = ("error", "warning")
"""The severities that are problems. An error prevents a start or stops a service; a warning makes one slower or
insecure; a notice is only reported."""

CAP_NET_BIND_SERVICE: Final = 1 << 10  # capabilities(7)
SYNCHRONIZED: Final = ClockQuality(True, 0.0)


@dataclass(frozen=True)
class Finding:
    """A problem, the value that was found, the one that is needed, and a shell command that mends it."""

    severity: Severity
    check: str  #: the name of the check
    what: str
    found: str = ""
    needed: str = ""
    command: str = ""  #: "" if no command can mend it


@dataclass(frozen=True)
class Holder:
    """A process that has a socket open."""

    pid: int
    command: str  #: its command line
    unit: str = ""  #: the systemd service that it belongs to

    @property
    def is_echod(self) -> bool:
        """Whether it looks like a daemon of this project: its program, or an argument of Python, is echod."""
        return any(word.rpartition("/")[2] == "echod" for word in self.command.split()[:8])


@dataclass(frozen=True)
class BoundInet:
    """A TCP socket that listens, or a UDP socket that is bound, of any process."""

    datagram: bool
    host: str
    port: int
    drops: int = 0  #: datagrams that the kernel dropped because the receive buffer was full, or by a filter
    rose: int = 0  #: by how much that rose while it was observed
    holders: tuple[Holder, ...] = ()  #: empty if this user may not see them


class DroppingRule(NamedTuple):
    """A rule of nftables that drops packets and counts them."""

    rule: str  #: as `nft delete rule` expects it: `inet filter input handle 5`
    ports: frozenset[int]  #: the destination ports that it names; empty: it is not for single ports
    packets: int
    rose: int = 0  #: by how much that rose while it was observed


@dataclass(frozen=True)
class Process:
    """The process whose limits count: the daemon if it is running, otherwise the process of echoctl."""

    pid: int
    is_daemon: bool
    user: int
    open_files: int  #: the hard limit; 0: unknown
    capabilities: int  #: the effective set, as bits
    cpus: int  #: that it may use: its affinity, and the quota of its cgroups
    memory: int | None = None  #: the limit of its cgroups in bytes; None without a limit
    cgroup: str = ""  #: the file of that limit
    unit: str = ""  #: the systemd service that it belongs to


@dataclass(frozen=True)
class Folder:
    """The folder of a Unix socket, and what is at its path."""

    exists: bool
    writable: bool  #: by this user
    exposed: bool = False  #: other users may write to it, and it is not sticky
    is_made: bool = False  #: it does not exist, and the daemon makes it
    blocked_by: str = ""  #: what is at the path and is not a socket, such as "a regular file"


@dataclass(frozen=True)
class FileSystem:
    """A file system that the daemon writes to."""

    path: str  #: a file or folder in it
    purpose: str
    free: int  #: bytes that this user can write
    total: int


@dataclass(frozen=True)
class Machine:
    """Everything that was read."""

    process: Process
    sysctls: Mapping[str, str] = field(default_factory=dict)  #: those that exist
    counters: Mapping[str, int] = field(default_factory=dict)  #: of the kernel, since the start of the machine
    rose: Mapping[str, int] = field(default_factory=dict)  #: by how much the counters rose while they were observed
    seconds: float = 0.0  #: how long they were observed
    rules: tuple[DroppingRule, ...] = ()
    sockets: tuple[BoundInet, ...] = ()
    bind_errors: Mapping[str, int] = field(default_factory=dict)  #: errno by address, of those that cannot be bound
    folders: Mapping[str, Folder] = field(default_factory=dict)  #: by the path of the Unix socket
    interfaces: frozenset[str] = frozenset()
    file_systems: tuple[FileSystem, ...] = ()
    memory: int = 0  #: bytes of the machine; 0: unknown
    clock: ClockQuality = SYNCHRONIZED
    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    missing: frozenset[str] = frozenset()  #: kernel features that do not exist here
    status: Mapping[str, Any] | None = None  #: /api/status of the running daemon
    later: Mapping[str, Any] | None = None  #: the same, after `seconds`
    unanswered: str = ""  #: why the admin interface gave no status
    no_daemon: bool = True  #: whether that is because no process listens there
    denied: bool = False  #: whether that is because this user may not ask

    @property
    def daemon_pids(self) -> frozenset[int]:
        """The processes of the running daemon."""
        if self.status is None:
            return frozenset()
        return frozenset({self.status["pid"], *(one["pid"] for one in self.status.get("workers", ()))})

    @property
    def served(self) -> frozenset[str]:
        """The labels of the addresses that the running daemon serves."""
        if self.status is None:
            return frozenset()
        return frozenset(one["address"] for service in self.status["services"] for one in service["listeners"])

    def sysctl(self, name: str, at: int = 0) -> int | None:
        """A number of a sysctl; `at` is its place if it has several. None if it does not exist."""
        words = self.sysctls.get(name, "").split()
        return int(words[at]) if len(words) > at and words[at].isdecimal() else None


def check_form(status: Any) -> None:
    """Read every member of a status that the checks use. Raises TypeError, ValueError or LookupError for a wrong form.

    Another program may listen at the address of the admin interface.
    """
    for number in (status["pid"], status["lines_lost"], status["internal_errors"]):
        _ = number + 0
    for worker in status.get("workers", ()):
        _ = worker["pid"] + 0
    last = status["last_reload"]
    texts = [] if last is None or last["reloaded"] else [*last["errors"]]
    texts += [one[name] for one in status.get("awaited", ()) for name in ("address", "service", "error")]
    for service in status["services"]:
        texts += [service["name"], *(one["sha256"] for one in service.get("certificates", ()))]
        for listener in service["listeners"]:
            texts += [listener["address"], *listener["refused"]]
            _ = listener["open"] + sum(listener["refused"].values())
    if not all(isinstance(text, str) for text in texts) or not isinstance(status["ready"], bool):
        raise TypeError("a text is missing")
