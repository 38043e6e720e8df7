"""The standard streams, as every program of ours expects them: open, and read by somebody who may leave.

Standard library only, and nothing of echod.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

REPORT_WAIT: Final = 1.0  #: seconds that a line waits for a non-blocking standard error to accept it


def open_standard_streams() -> None:
    """Open what our parent closed of descriptors 0 to 2, or the first socket would be taken for our output."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115 - it stays open


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Within it, who reads our standard output may go: that ends us. What was printed is out at its end.

    Raises OSError where it cannot be written for another reason.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        die_of_pipe()


def die_of_pipe() -> None:
    """Nobody reads our output any more: end as every Unix program does, quietly and by SIGPIPE."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)


def report(line: str) -> None:
    """Write one line to standard error.

    Never raises: if the terminal, the pipe or the disk behind it is gone, the line is lost and the program goes on to
    its end. Nothing stays in a buffer, because a flush that fails at exit would change the exit code.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # replaced by an object without a descriptor, or closed
        with suppress(Exception):
            print(line, file=sys.stderr)
        return
    rest = memoryview(f"{line}\n".encode(sys.stderr.encoding or "utf-8", "backslashreplace"))
    ends = time.monotonic() + REPORT_WAIT
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            left = ends - time.monotonic()
            if left <= 0:
                return
            select.select([], [descriptor], [], left)
        except OSError:
            return
