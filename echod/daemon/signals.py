"""Signals: a first TERM or INT drains and stops the daemon, a second one stops it at once. HUP reloads; USR1 opens the
log files again. The exit code of a stop is 0.

Signals that arrive during the start are blocked until the reactor runs: paths that were bound are then removed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final

from twisted.internet.error import ReactorNotRunning

ENDS: Final = (signal.SIGTERM, signal.SIGINT)
OURS: Final = (*ENDS, signal.SIGHUP, signal.SIGUSR1)


def hold() -> None:
    """Block the signals until `install`. A process that ends before need not unblock them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, OURS)


def install(
    reactor: Any,
    stop_now: Callable[[], None],
    reload: Callable[[], None],
    reopen: Callable[[], None],
    workers: Callable[[], Collection[int]] | None = None,
) -> None:
    """Replace Twisted's handlers, with which the process would end as killed by the signal.

    `workers` are the processes whose end the caller itself waits for.

    Call it when the reactor is running: it installs its own handlers at its start. Blocked signals arrive now.
    """
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            stop_now()
        else:
            stopping = True
            with suppress(ReactorNotRunning):  # it was stopped by other code
                reactor.stop()

    def on(number: signal.Signals, call: Callable[[], None]) -> None:
        signal.signal(number, lambda _number, _frame: reactor.callFromThread(call))

    for number in ENDS:
        on(number, stop)
    on(signal.SIGHUP, reload)  # a closing terminal sends it too: the daemon survives that
    on(signal.SIGUSR1, reopen)
    reactor.addSystemEventTrigger("after", "shutdown", ignore)
    if os.getpid() == 1:
        reap_orphans(workers)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OURS)


def ignore() -> None:
    """Ignore the signals: the process is ending.

    Python restores the default action of every handler before it exits, so a signal would kill the process in its
    last milliseconds. An ignored signal stays ignored.
    """
    for number in OURS:
        signal.signal(number, signal.SIG_IGN)


def reap_orphans(workers: Callable[[], Collection[int]] | None = None) -> None:
    """Reap child processes, except workers. Process 1 of a container inherits every orphan.

    Without workers the kernel reaps them.
    """
    if workers is None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    def reap(_number: int = 0, _frame: object = None) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if workers is not None and ended.si_pid in workers():
                    break  # what ended after it is reaped at the next signal
                os.waitpid(ended.si_pid, os.WNOHANG)

    if workers is not None:
        signal.signal(signal.SIGCHLD, reap)
    reap()  # those that ended before
