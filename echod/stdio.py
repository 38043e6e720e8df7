"""Standard streams: opens closed ones, and handles a closed pipe on standard output."""

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
    """Open those of descriptors 0 to 2 that the parent closed; else the first socket would become standard output."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # open(2) returns the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w", closefd=False))


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """A context in which a closed pipe on standard output ends the process by SIGPIPE. Flushes the output at its end.

    Raises OSError if the output cannot be written for another reason.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        die_of_pipe()
    except OSError:
        _discard_output()
        raise


def _discard_output() -> None:
    """Write the rest of the output to /dev/null: a failed flush at exit would print a traceback, with exit code 120."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def die_of_pipe() -> None:
    """End the process by SIGPIPE without a message, as Unix programs do if the reader of their output has gone."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)


def report(line: str) -> None:
    """Write one line to standard error.

    Never raises: if the terminal, the pipe or the disk is gone, the line is lost and the program continues. The line is
    not buffered, because a failed flush at exit would change the exit code.
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
