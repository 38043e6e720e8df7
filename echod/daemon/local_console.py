"""`--console`: the daemon's own terminal operates its console service."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from echod.config.settings import Configuration
from echod.daemon.listener import Listener
from echod.lineedit.interactive_input import InteractiveInput, is_terminal
from echod.lineedit.operator_dialogue import Leave, OperatorView
from echod.lineedit.raw_mode import in_foreground
from echod.membership import Operator, OperatorEvent, OperatorQueue, Unanswerable
from echod.services.console import Console
from echod.telemetry.background_writer import BackgroundWriter

GONE: Final = "-- the console service was removed"


class NoConsole(Exception):
    """The terminal cannot operate a console service; the message says why, and what to change."""


class OwnTerminal:
    """The operator at the daemon's own terminal, or at its standard input if that is a pipe.

    An operator who has left (`/quit`, Ctrl-D) joins again with the next line. The daemon continues meanwhile.
    """

    def __init__(self, reactor: Any, output: BackgroundWriter, console: Callable[[], Console | None]) -> None:
        self._find = console  # a reload can remove the service, and add it again
        self._queue: OperatorQueue | None = None
        self._operator: Operator | None = None
        self._number: int | None = None
        self._show: Callable[[str], object] = output.line
        self._operating = OperatorView(self._show)
        self._typing = InteractiveInput(
            reactor,
            output.put,
            self._typed,
            self._leave,
            prompt=self._operating.prompt,
            begun=self._operating.typing,
        )
        output.dressed = self._typing.dressed

    def event(self, name: str, _fields: Mapping[str, Any]) -> None:
        """The sink of the daemon's events. The operator joins when the daemon is ready, and leaves at the stop."""
        if name == "daemon.ready":
            self._typing.start()
            self._show("-- you operate this console; /help lists the commands")
            self._sit()
        elif name == "daemon.stopped":
            self._typing.stop()

    def _sit(self) -> None:
        console = self._find()
        if console is None:
            self._forget()
            self._show(GONE)
        else:
            self._queue = console.queue
            self._operator = console.queue.add_operator(self._begun, self._operating.event, self._dismissed)

    def _begun(self, number: int, waiting: Iterator[OperatorEvent]) -> None:
        self._number = number
        for event in waiting:
            self._operating.event(event)

    def _dismissed(self) -> None:
        """A reload has removed the service."""
        self._forget()
        self._show(GONE)

    def _forget(self) -> None:
        self._queue = self._operator = self._number = None

    def _typed(self, line: str) -> None:
        queue, console = self._queue, self._find()
        if queue is None or self._operator is None or console is None or console.queue is not queue:
            self._sit()
            return
        wanted = self._operating.typed(line)
        if isinstance(wanted, Leave):
            self._leave()
        elif wanted is not None:
            queue.answer(wanted.to, wanted.text, self._number, self._answered)

    def _answered(self, result: int | Unanswerable) -> None:
        if isinstance(result, Unanswerable):
            self._show(f"-- {result}")

    def _leave(self) -> None:
        if self._operator is not None:
            self._operator.leave()
            self._operator = self._number = None
            self._show("-- you left the console; messages are queued. A line joins it again, Ctrl-C stops the daemon")


def console_of(configuration: Configuration, *, daemonised: bool) -> str:
    """The name of the only console service. Raises NoConsole if there is another number, or no terminal to read."""
    if daemonised:
        raise NoConsole("--console needs the foreground: twistd -n --pidfile= echod --console …")
    names = [one.name for one in configuration.services if issubclass(one.kind, Console)]
    if not names:
        raise NoConsole("--console: no console service is configured; add --listen console=tcp://127.0.0.1:10014")
    if len(names) > 1:
        raise NoConsole(f"--console: {len(names)} console services are configured ({', '.join(names)}); expected one")
    if sys.stdin.isatty() and not in_foreground(sys.stdin.fileno()):
        raise NoConsole("--console: this process is in the background of its terminal and cannot read from it")
    return names[0]


def console_service(listeners: Iterable[Listener], name: str) -> Console | None:
    """The console service of this name that is served, or None."""
    found = (one.running.service for one in listeners if one.name == name)
    service = next(found, None)
    return service if isinstance(service, Console) else None


def shares_the_terminal() -> bool:
    """Whether standard error writes to the terminal on which the operator types."""
    return is_terminal() and sys.stderr.isatty()
