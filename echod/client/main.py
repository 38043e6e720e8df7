"""echoctl: parses the command line, runs the command, and returns its exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, runtime_checkable

from echod.client.command_definitions import parser
from echod.client.stdout import INTERRUPTED, fail
from echod.escaping import system_error
from echod.lineedit.raw_mode import restore
from echod.startup_heap import freeze_startup_heap, pause_collection
from echod.stdio import open_standard_streams, readers_may_leave

STUCK: Final = 0.5
"""Seconds after an interrupt in which the program ends by itself, unless it is blocked in a write to a terminal or a
pipe that accepts nothing. Another interrupt after them ends it at once."""


class Command(Protocol):
    """A command that runs in the reactor. It is created when the reactor has started."""

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        """Start the command. It calls `finish` with the exit code to end the program."""

    def interrupted(self) -> int:
        """SIGINT or SIGTERM: print what is left to print. Returns the exit code."""


@runtime_checkable
class Reporting(Protocol):
    """A command that prints a report at SIGQUIT (Ctrl-\\) and continues."""

    def report(self) -> None:
        """Print the report on standard error."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 success, 1 no reply or a wrong one, 2 usage, 130 interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback if it comes during imports
    pause_collection()
    open_standard_streams()
    try:
        with readers_may_leave():
            return _run(arguments)
    except OSError as error:
        fail(f"standard output: {system_error(error)}")
    return 1


def _run(arguments: Sequence[str] | None) -> int:
    parsed = parser().parse_args(arguments)
    module = importlib.import_module(f"echod.client.commands.{parsed.command}")
    if not hasattr(module, "run"):
        return _in_reactor(module.COMMAND, parsed)
    freeze_startup_heap()
    code: int = module.run(parsed)
    return code


def _in_reactor(command: Callable[..., Command], arguments: argparse.Namespace) -> int:
    from twisted.internet import reactor as installed
    from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
    from zope.interface import provider

    from echod.transports.lookup import NameResolver

    freeze_startup_heap()
    reactor: Any = installed
    reactor.seconds = time.monotonic  # timers must not follow steps of the wall clock
    reactor.installNameResolver(NameResolver(reactor))  # for Twisted's endpoint strings
    outcome: list[int] = []
    errors: list[Exception] = []  # of the start of the command

    def finish(code: int) -> None:
        if not outcome:
            outcome.append(code)
            reactor.stop()

    def begin() -> None:
        @provider(ILogObserver)
        def on_log(event: LogEvent) -> None:
            """After a bug, whose traceback Twisted prints: the reactor would continue, perhaps without a timer."""
            if event.get("log_level") is LogLevel.critical and not outcome:
                outcome.append(1)
                reactor.callLater(0, end_after_bug)

        def end_after_bug() -> None:
            try:
                running.interrupted()
            finally:
                reactor.stop()

        def leave() -> None:
            code = INTERRUPTED
            try:
                code = running.interrupted()
            finally:
                finish(code)

        interrupted: list[float] = []

        def on_signal(_number: int, _frame: object) -> None:
            if interrupted and time.monotonic() - interrupted[0] > STUCK:
                restore()
                os._exit(INTERRUPTED)
            interrupted.append(time.monotonic())
            reactor.callFromThread(leave)

        for number in (signal.SIGINT, signal.SIGTERM):  # Twisted's handlers would close every connection first
            signal.signal(number, on_signal)
        try:
            running = command(reactor, arguments, finish)
        except Exception as error:  # the reactor would log it, and run for ever
            errors.append(error)
            reactor.stop()
            return
        globalLogPublisher.addObserver(on_log)
        if isinstance(running, Reporting):
            signal.signal(signal.SIGQUIT, lambda _number, _frame: reactor.callFromThread(running.report))

    reactor.callWhenRunning(begin)
    reactor.run()
    if errors:
        raise errors[0]
    return outcome[0] if outcome else 1


if __name__ == "__main__":
    sys.exit(main())
