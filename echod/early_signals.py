"""Signals before the daemon handles them: an interrupt ends the process with 0 at any moment.

It imports only the standard library, because it runs while everything else is imported.
"""

from __future__ import annotations

import os
import signal


def end_at_once(_number: int, _frame: object) -> None:
    """End with 0, without an exception, because the interrupted import or wait could handle it as its own."""
    os._exit(0)


def until_the_daemon_takes_them() -> None:
    """End on SIGTERM and SIGINT, and ignore SIGHUP and SIGUSR1: no file is open yet that could be reopened."""
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end_at_once)
