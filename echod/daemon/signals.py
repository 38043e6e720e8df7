"""Signals: a first TERM or INT stops the daemon in order, a second one at once; both end it with 0. HUP reloads.

What comes while it starts waits, from the first socket on: a path that was bound is removed, and 0 is 0.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Final

OURS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def hold() -> None:
    """Let them wait until `install`; whoever ends the process without it need not care."""
    signal.pthread_sigmask(signal.SIG_BLOCK, OURS)


def install(reactor: Any, stop_now: Callable[[], None], reload: Callable[[], None]) -> None:
    """Take the signals over from Twisted, which would end the process as killed by them.

    Call it once the reactor runs: it installs its own handlers when it starts. What waited comes now.
    """
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            stop_now()
        else:
            stopping = True
            reactor.stop()

    def on_signal(_number: int, _frame: object) -> None:
        reactor.callFromThread(stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)

    def on_hang_up(_number: int, _frame: object) -> None:
        reactor.callFromThread(reload)

    signal.signal(signal.SIGHUP, on_hang_up)  # also what a terminal sends that closes: the daemon survives it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OURS)
