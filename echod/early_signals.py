"""Signals before the daemon takes them: an interrupt ends the process with 0, whatever it waits for.

Standard library only, and nothing of echod: it runs while everything else is being imported.
"""

from __future__ import annotations

import os
import signal


def end_at_once(_number: int, _frame: object) -> None:
    """End with 0. An exception could be taken for one of the import, or of the wait, that it comes in."""
    os._exit(0)


def until_the_daemon_takes_them() -> None:
    """End on SIGTERM and SIGINT, and ignore SIGHUP and SIGUSR1: nothing is open yet that could be read again."""
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end_at_once)
