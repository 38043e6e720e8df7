"""Resources of a process and of the kernel, from /proc, and their growth."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.faults import descriptors
from tests.daemon import memory

KIB: Final = 1024
PER: Final = 10_000  #: cycles that a slope refers to
SETTLING: Final = 2.0  #: seconds for the last clients to disappear …
AT_THE_END: Final = 20.0  #: … and at the end
BEHIND: Final = 0.2  #: the share of a run that is ignored, because a process is still warming up


@dataclass(frozen=True)
class Sample:
    """One measurement. Memory is in bytes."""

    at: int  #: completed cycles
    resident: int
    proportional: int
    descriptors: int
    pipes: int
    sockets: int  #: TCP sockets of this network in the kernel, without TIME_WAIT
    orphans: int  #: those of them that belong to no process

    @property
    def held(self) -> int:
        """The sum of everything that must not grow."""
        return self.descriptors + self.sockets + self.orphans


def look(pid: int, at: int) -> Sample:
    """Measure now."""
    held = descriptors(pid)
    shared = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    network = Path("/proc/thread-self/net/sockstat").read_text()
    said = re.search(r"^TCP: inuse (\d+) orphan (\d+)", network, re.MULTILINE)
    return Sample(
        at,
        resident=memory(pid),
        proportional=int(shared[1]) * KIB if shared else 0,
        descriptors=len(held),
        pipes=sum(one.startswith("pipe:") for one in held),
        sockets=int(said[1]) if said else 0,
        orphans=int(said[2]) if said else 0,
    )


@dataclass
class Course:
    """All measurements of a run; the first is made before it begins."""

    pid: int
    samples: list[Sample] = field(default_factory=list)

    def look(self, at: int, settling: float = SETTLING) -> None:
        """Measure again when the last connections are gone: once nothing exceeds the first, or at the time limit."""
        now = look(self.pid, at)
        ends = time.monotonic() + settling
        while time.monotonic() < ends and (not self.samples or now.held > self.samples[0].held):
            time.sleep(0.05)
            before, now = now, look(self.pid, at)
            if not self.samples and now.held == before.held:
                break
        self.samples.append(now)

    @property
    def slope(self) -> float:
        """Bytes of resident memory per PER cycles, over the last part of the run."""
        begin = BEHIND * self.samples[-1].at
        return PER * slope([(one.at, one.resident) for one in self.samples if one.at >= begin])

    @property
    def grown_late(self) -> int:
        """Bytes of resident memory, over the same part."""
        begin = BEHIND * self.samples[-1].at
        return self.samples[-1].resident - next(one.resident for one in self.samples if one.at >= begin)

    @property
    def grown(self) -> int:
        """Bytes of resident memory, over the whole run."""
        return self.samples[-1].resident - self.samples[0].resident

    def values(self) -> dict[str, float]:
        """The document of --json."""
        first, last = self.samples[0], self.samples[-1]
        return {
            "rss_first": first.resident,
            "rss_last": last.resident,
            "pss_last": last.proportional,
            "slope_octets_per_10000": round(self.slope, 1),
            "descriptors_first": first.descriptors,
            "descriptors_last": last.descriptors,
            "pipes_last": last.pipes,
            "sockets_first": first.sockets,
            "sockets_last": last.sockets,
        }


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the line that fits these points best (least squares)."""
    if len(points) < 2:
        return 0.0
    middle = sum(x for x, _ in points) / len(points)
    spread = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * y for x, y in points) / spread if spread else 0.0
