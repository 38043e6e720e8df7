"""Starts threads that receive no signals, and reports why a thread cannot be started."""

from __future__ import annotations

import signal
import threading


class NoThread(Exception):
    """A thread cannot be started. The message names the limits that can be the cause."""

    def __init__(self) -> None:
        super().__init__("no thread can be started (EAGAIN): raise a limit (ulimit -u, ulimit -v, TasksMax=)")


def start(thread: threading.Thread) -> None:
    """Start a thread that blocks every signal, so that only the main thread receives them. Raises NoThread.

    The kernel still knows a joined thread for a moment. That thread would receive a signal that the main thread has
    blocked.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    except RuntimeError as error:
        raise NoThread from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
