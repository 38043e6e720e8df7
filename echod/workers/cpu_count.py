"""The number of CPUs that this process can use, for `workers = "auto"`: its affinity, and the quota of its cgroups."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")  #: where cgroup v2 is mounted (cgroups(7))
OWN: Final = Path("/proc/self/cgroup")


def usable_cpus(affinity: int, quotas: Iterable[str]) -> int:
    """The number of CPUs, at least 1. `affinity` is the number in the process's mask.

    `quotas` are contents of `cpu.max`: `$MAX $PERIOD` in microseconds, or `max`. A part of a CPU counts as one.
    """
    fewest = affinity
    for quota in quotas:
        words = quota.split()
        if len(words) == 2 and all(word.isascii() and word.isdecimal() for word in words) and int(words[1]):
            fewest = min(fewest, math.ceil(int(words[0]) / int(words[1])))
    return max(1, fewest)


def cgroup_of(text: str) -> PurePosixPath | None:
    """The cgroup in the text of /proc/self/cgroup, relative to the mount; None without cgroup v2."""
    for line in text.splitlines():
        if line.startswith("0::/"):
            return PurePosixPath(line.removeprefix("0::/"))
    return None


def _quotas() -> Iterator[str]:
    """The quotas of the cgroup of this process and of those above it."""
    try:
        own = cgroup_of(OWN.read_text("utf-8", "surrogateescape"))
    except OSError:
        return
    for path in (own, *own.parents) if own is not None else ():
        try:
            yield (CGROUPS / path / "cpu.max").read_text("utf-8")
        except OSError:  # the root has none, and a container may not show the others
            continue


def workers_of(configured: int | str) -> int:
    """The number of workers for the key `workers`, a number or "auto"."""
    return configured if isinstance(configured, int) else usable_cpus(len(os.sched_getaffinity(0)), _quotas())
