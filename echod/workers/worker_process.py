"""The program of a worker: it waits for an assignment from the parent, serves it, and ends with the parent."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import Any, Final

from echod.early_signals import until_the_daemon_takes_them
from echod.startup_heap import pause_collection

PR_SET_PDEATHSIG: Final = 1  # prctl(2)
OURS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def main() -> None:
    """Run a worker: its arguments are the descriptor of its channel, and the number of the parent's process."""
    until_the_daemon_takes_them()
    for number in OURS:  # the parent gets them too, and decides; a terminal or a service manager signals all processes
        signal.signal(number, signal.SIG_IGN)
    pause_collection()
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    from twisted.internet import reactor as installed

    from echod.daemon.privilege_syscalls import Kernel

    reactor: Any = installed
    reactor.seconds = time.monotonic
    # A worker notices the end of the parent by its channel. A worker that is stopped is continued for that.
    Kernel().prctl(PR_SET_PDEATHSIG, signal.SIGCONT)
    if os.getppid() != parent:
        os._exit(0)
    from echod.workers.worker_daemon import WorkerDaemon

    worker = WorkerDaemon(reactor, socket.socket(fileno=descriptor))
    reactor.callWhenRunning(worker.begin)
    reactor.run(installSignalHandlers=False)
    os._exit(0)  # nothing is left to do, and the end of the interpreter takes 50 ms


if __name__ == "__main__":
    main()
