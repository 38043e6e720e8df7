"""Reads the facts of this machine. It changes nothing: it opens sockets for a moment, and sends nothing on them."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import select
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple

from echod.address import Address
from echod.client.doctor import proc_files
from echod.client.doctor.address_checks import inet_addresses, is_datagram, unix_addresses
from echod.client.doctor.machine_facts import BoundInet, DroppingRule, FileSystem, Folder, Holder, Machine
from echod.client.doctor.read_process import command_of, read_process
from echod.config.settings import Configuration
from echod.measurement.clock_quality import clock_quality
from echod.runtime_dir import runtime_dir

SYSCTLS: Final = (
    "net.core.somaxconn",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.core.netdev_max_backlog",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_mem",
    "net.ipv6.conf.all.disable_ipv6",
    "net.ipv6.conf.lo.disable_ipv6",
    "net.netfilter.nf_conntrack_max",
)
LANDLOCK_CREATE_RULESET: Final = 444  #: the number of the system call on every architecture (landlock(7))
UDP_SEGMENT: Final = 103  #: <linux/udp.h>
SO_UDP: Final = 17
JOURNAL: Final = ("/var/log/journal", "/run/log/journal")


class Status(NamedTuple):
    """A response of /api/status, or the reason that there is none."""

    answer: Mapping[str, Any] | None
    reason: str = ""
    no_daemon: bool = False  #: no process listens there
    denied: bool = False  #: this user may not connect


def read_machine(configuration: Configuration, ask: Callable[[], Status], seconds: float) -> Machine:
    """Read everything, and observe the counters for `seconds`. `ask` requests the status of the daemon."""
    asked = ask()
    status = asked.answer
    counters, drops, rules = _counters(), _drops(), _packet_filter()
    pid = status["pid"] if status is not None else None
    process = read_process(pid)
    if seconds:
        select.select([], [], [], seconds)
    later = ask().answer if status is not None and seconds else None
    rose = {name: count - counters[name] for name, count in _counters().items() if name in counters} if seconds else {}
    bound = tuple(_sockets(drops))
    errors = {one.label: _bind_error(one, bound) for _, one in inet_addresses(configuration)}
    return Machine(
        process=process,
        sysctls={name: text for name in SYSCTLS if (text := _sysctl(name))},
        counters=counters,
        rose=rose,
        seconds=seconds,
        rules=tuple(_since(one, rules) for one in _packet_filter().values()),
        sockets=bound,
        bind_errors={label: error for label, error in errors.items() if error is not None},
        folders={one.path: _folder(one) for one in unix_addresses(configuration)},
        interfaces=frozenset(name for _, name in socket.if_nameindex()),
        file_systems=tuple(_file_systems(configuration, process.pid if process.is_daemon else None)),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        clock=clock_quality(),
        now=datetime.now(UTC),
        missing=frozenset(_missing()),
        status=status,
        later=later,
        unanswered=asked.reason,
        no_daemon=asked.no_daemon,
        denied=asked.denied,
    )


def _text(path: str) -> str:
    """A file of the kernel; "" if it cannot be read."""
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""


def _sysctl(name: str) -> str:
    return _text(f"/proc/sys/{name.replace('.', '/')}").strip()


def _counters() -> dict[str, int]:
    """The counters of dropped packets."""
    found = proc_files.counter_pairs(_text("/proc/net/netstat"))
    found["softnet.dropped"] = proc_files.softnet_drops(_text("/proc/net/softnet_stat"))
    found["conntrack.drop"] = proc_files.conntrack_drops(_text("/proc/net/stat/nf_conntrack"))
    count = _sysctl("net.netfilter.nf_conntrack_count")
    return {**found, "conntrack.count": int(count or 0)}


def _drops() -> dict[int, int]:
    """The drops of each UDP socket, by its inode."""
    files = (_text(f"/proc/net/{file}") for file in ("udp", "udp6"))
    return {one.inode: one.drops for text in files for one in proc_files.sockets(text, datagram=True)}


def _since(rule: DroppingRule, before: Mapping[str, DroppingRule]) -> DroppingRule:
    """A rule with the packets that it has dropped since an earlier reading."""
    return rule._replace(rose=rule.packets - before.get(rule.rule, rule).packets)


def _packet_filter() -> dict[str, DroppingRule]:
    """The rules of nftables that drop packets and count them; only root may read them."""
    program = shutil.which("nft")
    if program is None or os.geteuid() != 0:
        return {}
    try:
        ended = subprocess.run([program, "-j", "list", "ruleset"], capture_output=True, timeout=10, check=False)
        return {one.rule: one for one in proc_files.dropping_rules(json.loads(ended.stdout or b"{}"))}
    except (OSError, ValueError, LookupError, TypeError, subprocess.TimeoutExpired):
        return {}


def _sockets(drops: Mapping[int, int]) -> Iterator[BoundInet]:
    """The sockets of every process. Root sees their processes; another user only its own.

    `drops` are earlier numbers of drops, by inode.
    """
    holders: dict[int, list[Holder]] = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
        except OSError:  # it belongs to another user, or has ended
            continue
        inodes = {int(link[8:-1]) for link in links if link.startswith("socket:[")}
        if inodes:
            holder = Holder(int(pid), command_of(int(pid)), proc_files.unit_of(_text(f"/proc/{pid}/cgroup")))
            for inode in inodes:
                holders.setdefault(inode, []).append(holder)
    for datagram, files in ((False, ("tcp", "tcp6")), (True, ("udp", "udp6"))):
        for file in files:
            for one in proc_files.sockets(_text(f"/proc/net/{file}"), datagram=datagram):
                rose = one.drops - drops.get(one.inode, one.drops)
                yield BoundInet(datagram, one.host, one.port, one.drops, rose, tuple(holders.get(one.inode, ())))


def _bind_error(address: Address, bound: tuple[BoundInet, ...]) -> int | None:
    """The errno of a bind to an address, or None. The port is tried only if a socket of this machine has it."""
    datagram = is_datagram(address)
    port = address.port if any((one.datagram, one.port) == (datagram, address.port) for one in bound) else 0
    kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
    host = "::" if address.host == "*" and socket.has_ipv6 else address.host.replace("*", "")
    try:
        [(family, _, _, _, name), *_] = socket.getaddrinfo(
            host, port, type=kind, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )
        if datagram and ip_address(str(name[0]).partition("%")[0]).is_multicast:
            return None  # several processes may join a group
        with socket.socket(family, kind) as probe:
            if not datagram:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address.host != "*")
            probe.bind(name)
    except socket.gaierror:  # a name, which was reported when names were resolved
        return None
    except OSError as error:
        if address.host == "*" and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return None  # served over IPv4 only
        return error.errno
    return None


def _folder(address: Address) -> Folder:
    """The folder of a Unix socket, and what is at its path."""
    path = address.system_path
    folder = os.path.dirname(path)
    try:
        there = os.stat(folder)
    except OSError:
        made = folder == runtime_dir(os.environ) and os.access(os.path.dirname(folder), os.W_OK | os.X_OK)
        return Folder(exists=False, writable=False, is_made=made)
    try:
        mode = os.lstat(path).st_mode
        blocked = "" if stat.S_ISSOCK(mode) else _NAMES.get(stat.S_IFMT(mode), "a special file")
    except OSError:
        blocked = ""
    exposed = bool(there.st_mode & stat.S_IWOTH) and not there.st_mode & stat.S_ISVTX
    return Folder(True, os.access(folder, os.W_OK | os.X_OK), exposed, blocked_by=blocked)


_NAMES: Final = {stat.S_IFREG: "a regular file", stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link"}


def _file_systems(configuration: Configuration, daemon: int | None) -> Iterator[FileSystem]:
    """The file systems of the log, of the sockets, of the configuration and of the journal."""
    paths = {one.path: "a Unix socket" for one in unix_addresses(configuration)}
    paths |= {str(path): "the configuration" for path in configuration.sources[:1]}
    paths |= {path: "the journal" for path in JOURNAL if os.path.isdir(path)}
    for number in (1, 2) if daemon is not None else ():
        try:
            log = os.readlink(f"/proc/{daemon}/fd/{number}")
        except OSError:
            continue
        if os.path.isfile(log):
            paths[log] = "the log"
    seen = set()
    for path, purpose in paths.items():
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        try:
            device, facts = os.stat(folder).st_dev, os.statvfs(folder)
        except OSError:
            continue
        if device not in seen and facts.f_blocks and not facts.f_flag & os.ST_RDONLY:
            seen.add(device)
            there = path if os.path.exists(path) else folder
            yield FileSystem(there, purpose, facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize)


def _missing() -> Iterator[str]:
    """The features that this kernel or this Python does not have."""
    if not hasattr(select, "epoll"):
        yield "epoll"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        yield "pidfd"
    if importlib.util.find_spec("cffi") is None:
        yield "cffi"
    if not _has_landlock():
        yield "landlock"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(SO_UDP, UDP_SEGMENT, 1000)
        except OSError:
            yield "UDP_SEGMENT"


def _has_landlock() -> bool:
    import ctypes  # it takes long to import, and only this function uses it

    version = 1  # the flag that requests the version of the interface
    try:
        return bool(ctypes.CDLL(None, use_errno=True).syscall(LANDLOCK_CREATE_RULESET, None, 0, version) > 0)
    except (AttributeError, OSError):
        return False
