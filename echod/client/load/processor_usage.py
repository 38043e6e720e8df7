"""The processor time that this process has used, and how long it waited for a processor."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Final, NamedTuple

SCHEDSTAT: Final = Path("/proc/self/schedstat")
"""Of the main thread: nanoseconds on a processor, nanoseconds in the run queue, time slices (proc(5))."""


ATTEMPTS: Final = 8  #: readings; each takes some 50 µs, and a time slice milliseconds


class Usage(NamedTuple):
    """Nanoseconds of one process."""

    running: int
    waiting: int  #: runnable, but another process had the processor; 0 if the kernel does not count it
    elapsed: int  #: in which they were used

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(*(now - before for now, before in zip(self, earlier, strict=True)))


def usage() -> Usage:
    """The times of this process so far.

    If the process waits for a processor between the readings, they are made again: that time would count as waiting,
    but not as elapsed.
    """
    found = _read()
    for _ in range(ATTEMPTS):
        again = _read()
        if again.waiting == found.waiting:
            break
        found = again
    return found


def _read() -> Usage:
    try:
        waiting = int(SCHEDSTAT.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        waiting = 0
    return Usage(process_time_ns(), waiting, perf_counter_ns())
