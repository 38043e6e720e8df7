"""Read processor time and memory of a process tree from /proc."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may contain blanks and parentheses; [1] is the parent."""
    return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()


def tree(pid: int) -> list[int]:
    """A process and its descendants, itself first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(_PROC):
        if entry.isdecimal():
            try:
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
            except OSError:
                continue  # the process ended meanwhile
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _own_cpu(pid: int) -> float:
    """Processor seconds of all threads: in nanoseconds if the kernel has schedstat, otherwise in ticks of 10 ms."""
    tasks = list((_PROC / str(pid) / "task").iterdir())
    try:
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) * 1e-9
    except (OSError, IndexError):
        return sum(map(int, _stat(pid)[11:13])) * _TICK


def cpu_seconds(pid: int) -> float:
    """User and system seconds of the tree so far, including the children that ended and were waited for."""
    total = 0.0
    for each in tree(pid):
        try:
            total += _own_cpu(each) + sum(map(int, _stat(each)[13:15])) * _TICK
        except OSError:
            continue
    return total


def memory(pid: int) -> int:
    """User memory of the tree, in bytes.

    For a single process it is the resident set. For several it is the sum of their proportional sets (PSS), so that a
    page shared by forked children counts once.
    """
    found = tree(pid)
    if len(found) == 1:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE
    total = 0
    for each in found:
        try:
            lines = (_PROC / str(each) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total
