"""Parsers of the kernel's text files: /proc/net, /proc/PID, cgroups (proc(5), cgroups(7)). Pure."""

from __future__ import annotations

import math
import re
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from echod.client.doctor.machine_facts import DroppingRule

LISTEN: Final = 0x0A  #: TCP_LISTEN (net/tcp_states.h)
UNCONNECTED: Final = 0x07  #: TCP_CLOSE, of a UDP socket that is not connected
NO_LIMIT: Final = 1 << 62  #: bytes: cgroup v1 has such a number instead of "max"


class ProcSocket(NamedTuple):
    """A line of /proc/net/tcp, udp, tcp6 or udp6."""

    host: str
    port: int
    inode: int
    drops: int


def sockets(text: str, *, datagram: bool) -> Iterator[ProcSocket]:
    """The TCP sockets that listen, or the UDP sockets without a peer, of such a file."""
    wanted = UNCONNECTED if datagram else LISTEN
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) >= 10 and int(words[3], 16) == wanted:
            host, _, port = words[1].partition(":")
            drops = int(words[12]) if datagram and len(words) > 12 else 0
            yield ProcSocket(_host(host), int(port, 16), int(words[9]), drops)


def _host(text: str) -> str:
    """An address as the kernel prints it: words of four bytes, each in the byte order of the machine."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"{'<' if sys.byteorder == 'little' else '>'}{len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def counter_pairs(text: str) -> dict[str, int]:
    """The counters of /proc/net/netstat, as `TcpExt.ListenOverflows`: lines of names, each before its values."""
    found = {}
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        group, *keys = names.split()
        for key, value in zip(keys, values.split()[1:], strict=False):
            found[f"{group.rstrip(':')}.{key}"] = int(value)
    return found


def softnet_drops(text: str) -> int:
    """Packets that found the queue of a CPU full: the second column of /proc/net/softnet_stat."""
    return sum(int(words[1], 16) for line in text.splitlines() if len(words := line.split()) > 1)


def conntrack_drops(text: str) -> int:
    """Packets that connection tracking dropped: the columns named drop of /proc/net/stat/nf_conntrack."""
    names, *lines = text.splitlines() or [""]
    columns = [at for at, name in enumerate(names.split()) if name in ("drop", "early_drop", "insert_failed")]
    return sum(int(line.split()[at], 16) for line in lines for at in columns)


def dropping_rules(ruleset: Mapping[str, Any]) -> Iterator[DroppingRule]:
    """The nftables rules that drop or reject and have a counter, from `nft -j list ruleset` (libnftables-json(5))."""
    for item in ruleset.get("nftables", ()):
        rule = item.get("rule", {})
        parts = {key: value for part in rule.get("expr", ()) if isinstance(part, dict) for key, value in part.items()}
        if ("drop" in parts or "reject" in parts) and isinstance(parts.get("counter"), dict):
            name = f"{rule['family']} {rule['table']} {rule['chain']} handle {rule['handle']}"
            ports = frozenset(port for part in rule["expr"] for port in _ports(part.get("match", {})))
            yield DroppingRule(name, ports, int(parts["counter"].get("packets", 0)))


def _ports(match: Mapping[str, Any]) -> Iterator[int]:
    """The destination ports of a match: a number, a range, or a set of both."""
    left, right = match.get("left", {}), match.get("right")
    if not isinstance(left, dict) or left.get("payload", {}).get("field") != "dport":
        return
    for one in right["set"] if isinstance(right, dict) and "set" in right else [right]:
        if isinstance(one, int):
            yield one
        elif isinstance(one, dict) and "range" in one:
            first, last = one["range"]
            yield from range(first, last + 1)


def hard_limit_of_files(text: str) -> int:
    """The hard limit of open files of /proc/PID/limits; 0 if it is not there."""
    match = re.search(r"(?m)^Max open files\s+\S+\s+(\d+)", text)
    return int(match[1]) if match else 0


def status_field(text: str, name: str) -> str:
    """The value of a line of /proc/PID/status; "" if it is not there."""
    match = re.search(rf"(?m)^{name}:\s*(.*)$", text)
    return match[1] if match else ""


def cgroup_paths(text: str) -> dict[str, str]:
    """The paths of /proc/PID/cgroup by controller; that of version 2 has the key ""."""
    lines = (line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2)
    return {controller: path for _, controllers, path in lines for controller in controllers.split(",")}


def unit_of(text: str) -> str:
    """The system service that a process belongs to, from /proc/PID/cgroup; "" without one."""
    match = re.search(r"/system\.slice/(?:.*/)?([^/\n]+\.service)(?:/|$)", text, re.MULTILINE)
    return match[1] if match else ""


def memory_limit(texts: Iterable[str]) -> int | None:
    """The lowest limit of files such as memory.max, in bytes; None without a limit."""
    limits = [int(text) for text in map(str.strip, texts) if text.isdecimal() and int(text) < NO_LIMIT]
    return min(limits, default=None)


def cpu_quota(texts: Iterable[str]) -> int | None:
    """The fewest CPUs of files such as cpu.max (`$MAX $PERIOD`, in microseconds), rounded up; None without a quota."""
    pairs = [text.split() for text in texts]
    quotas = [math.ceil(int(most) / int(period)) for most, period in pairs if most.isdecimal() and period != "0"]
    return max(1, min(quotas)) if quotas else None
