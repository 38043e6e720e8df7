"""The end of a measurement by a signal: with all processes that it has started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from bench.measure import tree

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED: Final = 128 + signal.SIGINT  #: exit code


@contextmanager
def terminated_with_children() -> Iterator[None]:
    """A context in which SIGINT, SIGTERM and SIGHUP kill all descendants, and end this process.

    SIGINT raises KeyboardInterrupt, so that results can be printed, and exits with 130. The others raise SystemExit:
    143 or 129. A signal that the parent ignores, as nohup(1) does, stays ignored.
    """
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _end(number: int, _frame: object) -> None:
    for each in ENDING:  # another one would interrupt what removes folders and networks
        signal.signal(each, signal.SIG_IGN)
    for pid in tree(os.getpid())[1:]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
