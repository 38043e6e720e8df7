"""Signals: a first TERM or INT stops the daemon in order, a second one at once; both end it with 0. HUP reloads, USR1
opens the log files again.

What comes while it starts waits, from the first socket on: a path that was bound is removed, and 0 is 0.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from twisted.internet.error import ReactorNotRunning

ENDS: Final = (signal.SIGTERM, signal.SIGINT)
OURS: Final = (*ENDS, signal.SIGHUP, signal.SIGUSR1)


def hold() -> None:
    """Block them until `install`. A process that ends without it need not unblock them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, OURS)


def install(reactor: Any, stop_now: Callable[[], None], reload: Callable[[], None], reopen: Callable[[], None]) -> None:
    """Take the signals over from Twisted, which would end the process as killed by them.

    To be called once the reactor runs, for it installs its own handlers when it starts. What waited comes now.
    """
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            stop_now()
        else:
            stopping = True
            with suppress(ReactorNotRunning):  # something else has stopped it
                reactor.stop()

    def on(number: signal.Signals, call: Callable[[], None]) -> None:
        signal.signal(number, lambda _number, _frame: reactor.callFromThread(call))

    for number in ENDS:
        on(number, stop)
    on(signal.SIGHUP, reload)  # also what a terminal sends that closes: the daemon survives it
    on(signal.SIGUSR1, reopen)
    reactor.addSystemEventTrigger("after", "shutdown", ignore)
    if os.getpid() == 1:
        reap_orphans()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OURS)


def ignore() -> None:
    """Let none of them end the process any more: it is ending.

    Python restores the default action of every handler before it exits, and a signal would kill it in the last
    milliseconds. A signal that is ignored stays ignored.
    """
    for number in OURS:
        signal.signal(number, signal.SIG_IGN)


def reap_orphans() -> None:
    """Let the kernel reap children: the first process of a container is given every orphan, and we start none."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with suppress(ChildProcessError):  # those that ended before
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
