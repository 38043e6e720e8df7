"""A call that may wait for a name server, in a thread of its own: signals are handled meanwhile, and no end waits.

Python runs the handler of a signal between two steps of the main thread. None runs while the main thread is inside the
C library and waits for a resolver. The threads are daemons: the process ends while one still waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from echod.telemetry.threads import start

T = TypeVar("T")


def begin(call: Callable[[], T], done: Callable[[T | BaseException], object]) -> threading.Thread:
    """Call in a thread, and then `done`, in that thread, with what was returned or raised. Raises NoThread."""

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
    """Call in a thread and wait; handlers of signals run meanwhile. Raises NoThread, and what the call raises."""
    outcomes: list[T | BaseException] = []
    begin(call, outcomes.append).join()
    [outcome] = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
