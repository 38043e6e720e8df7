"""Reads the limits, the capabilities and the cgroups of a process from /proc and /sys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from echod.client.doctor import proc_files
from echod.client.doctor.machine_facts import Process

CGROUPS: Final = Path("/sys/fs/cgroup")
LONGEST: Final = 200  #: characters of a command line that are shown


def command_of(pid: int) -> str:
    """The command line of a process, cut to LONGEST characters; "" if it has none or is gone."""
    return _text(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip()[:LONGEST]


def read_process(daemon: int | None) -> Process:
    """The facts of the daemon, or of this process if the daemon does not run."""
    pid = os.getpid() if daemon is None else daemon
    status = _text(Path(f"/proc/{pid}/status"))
    cgroups = _text(Path(f"/proc/{pid}/cgroup"))
    limits = list(_files(cgroups, "memory", "memory.max", "memory.limit_in_bytes"))
    quota = proc_files.cpu_quota([*(_text(file) for file in _files(cgroups, "cpu", "cpu.max")), *_quotas_v1(cgroups)])
    memory = proc_files.memory_limit(map(_text, limits))
    try:
        affinity = len(os.sched_getaffinity(pid))
    except OSError:
        affinity = os.cpu_count() or 1
    return Process(
        pid=pid,
        is_daemon=daemon is not None,
        user=int((proc_files.status_field(status, "Uid").split() or [str(os.geteuid())])[0]),
        open_files=proc_files.hard_limit_of_files(_text(Path(f"/proc/{pid}/limits"))),
        capabilities=int(proc_files.status_field(status, "CapEff") or "0", 16),
        cpus=min(affinity, quota or affinity),
        memory=memory,
        cgroup=next((str(file) for file in limits if _text(file).strip() == str(memory)), ""),
        unit=proc_files.unit_of(cgroups),
    )


def _files(cgroups: str, controller: str, *names: str) -> Iterator[Path]:
    """The files of a controller, of the cgroup of a process and of those above it, in both versions of cgroups."""
    paths = proc_files.cgroup_paths(cgroups)
    for mount, path in ((CGROUPS, paths.get("")), (CGROUPS / controller, paths.get(controller))):
        inside = PurePosixPath((path or "/").lstrip("/"))
        for folder in (inside, *inside.parents):
            yield from (file for name in names if (file := mount / folder / name).is_file())


def _quotas_v1(cgroups: str) -> Iterator[str]:
    """The quotas of version 1 as version 2 writes them."""
    for file in _files(cgroups, "cpu", "cpu.cfs_quota_us"):
        quota, period = _text(file).strip(), _text(file.with_name("cpu.cfs_period_us")).strip()
        if quota and period and not quota.startswith("-"):
            yield f"{quota} {period}"


def _text(path: Path) -> str:
    """A file; "" if it cannot be read."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
