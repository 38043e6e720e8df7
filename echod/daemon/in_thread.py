"""Runs a call that may wait for a name server in a thread, so that signals are handled meanwhile.

Python runs signal handlers between two instructions of the main thread. While the main thread waits for a resolver in
the C library, no handler runs. The threads are daemon threads: the process can end while one is still waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from echod.telemetry.threads import start

T = TypeVar("T")


def begin(call: Callable[[], T], done: Callable[[T | BaseException], object]) -> threading.Thread:
    """Call in a thread; `done` is called in that thread with the return value or the exception. Raises NoThread."""

    def run() -> None:
        try:
            outcome: T | BaseException = call()
        except BaseException as error:
            outcome = error
        done(outcome)

    thread = threading.Thread(target=run, name="reading", daemon=True)
    start(thread)
    return thread


def wait_for(call: Callable[[], T]) -> T:
    """Call in a thread and wait; signal handlers run meanwhile. Raises NoThread, and what the call raises."""
    outcomes: list[T | BaseException] = []
    begin(call, outcomes.append).join()
    [outcome] = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
