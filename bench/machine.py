"""The machine of the run: its cores and their roles, the limit of open files, and its name."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_SPARE = 200
"""Descriptors that a program needs in addition to its connections."""


@dataclass(frozen=True)
class Cores:
    """One core for the server and one for the load generator; the same core if the machine has only one."""

    server: int
    load: int

    def __str__(self) -> str:
        if self.server == self.load:
            return f"server and load share core {self.server}, the only one: rates mean little, processor time is valid"
        return f"server on core {self.server}, load on core {self.load}"


def _siblings(core: int) -> set[int]:
    """The cores that are threads of the same physical core, including itself."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        parts = [part.partition("-") for part in path.read_text().strip().split(",")]
    except OSError:
        return {core}
    return {core for first, _, last in parts for core in range(int(first), int(last or first) + 1)}


def choose_cores() -> Cores:
    """Choose the last usable core for the server, because interrupts favour the first, and another for the load."""
    usable = sorted(os.sched_getaffinity(0))
    server = usable[-1]
    apart = [core for core in usable if core not in _siblings(server)]
    return Cores(server, (apart or usable)[0])


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run the processes that are started inside on this core only: they inherit the affinity."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_nofile() -> int:
    """Raise the soft limit of open files to the hard limit, for this process and its children; return it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def idle_connections(wanted: int, nofile: int) -> int:
    """How many connections the server and the load generator can each hold."""
    return min(wanted, max(1, nofile - _SPARE))


def program(*names: str) -> str | None:
    """The path of the first installed program. Daemons are in sbin, which not every PATH contains."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def first_line(command: Sequence[str]) -> str:
    """The version that a program prints; empty if it prints none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "")


def version_of(distribution: str) -> str | None:
    """The version of an installed Python distribution."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name from /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "cpu model")))
    return next(named, platform.machine())


def describe() -> dict[str, str]:
    """The kernel, the Python, the processor and the number of usable cores."""
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0))),
    }
