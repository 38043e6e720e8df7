"""How threads are started: none of them takes a signal, and a system that gives none is an error with a reason."""

from __future__ import annotations

import signal
import threading


class NoThread(Exception):
    """The system starts no thread for us; the message says why that may be."""

    def __init__(self) -> None:
        super().__init__("no thread can be started (EAGAIN): raise a limit (ulimit -u, ulimit -v, TasksMax=)")


def start(thread: threading.Thread) -> None:
    """Start a thread that blocks every signal, so that the main thread alone takes them. Raises NoThread.

    A thread that ends, and is joined, is still known to the kernel for a moment, and would take a signal that the
    main thread has blocked.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    except RuntimeError as error:
        raise NoThread from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
