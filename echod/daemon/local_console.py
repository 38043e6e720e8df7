"""`--console`: the daemon's own terminal operates its console service."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from echod.config.settings import Configuration
from echod.daemon.listener import Listener
from echod.lineedit.interactive_input import Typing, is_terminal
from echod.lineedit.operator_view import Leave, Operating
from echod.lineedit.raw_mode import in_foreground
from echod.services.console import Console
from echod.services.operator_queue import Desk, Unanswerable
from echod.telemetry.background_writer import Output

GONE: Final = "-- the console service was removed"


class NoConsole(Exception):
    """The terminal cannot operate a console service; the message says why, and what to change."""


class OwnTerminal:
    """The operator at the daemon's own terminal, or at its standard input if that is a pipe.

    An operator who has left (`/quit`, Ctrl-D) joins again with the next line. The daemon continues meanwhile.
    """

    def __init__(self, reactor: Any, output: Output, desk: Callable[[], Desk | None]) -> None:
        self._find = desk  # a reload can remove the service, and add it again
        self._desk: Desk | None = None
        self._number: int | None = None
        self._show: Callable[[str], object] = output.line
        self._operating = Operating(self._show)
        self._typing = Typing(
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
        self._desk = self._find()
        if self._desk is None:
            self._number = None
            self._show(GONE)
        else:
            self._number, waiting = self._desk.sit(self._operating.event, self._dismissed)
            for event in waiting:
                self._operating.event(event)

    def _dismissed(self) -> None:
        """A reload has removed the service."""
        self._desk = self._number = None
        self._show(GONE)

    def _typed(self, line: str) -> None:
        desk = self._desk
        if desk is None or self._number is None or self._find() is not desk:
            self._sit()
            return
        wanted = self._operating.typed(line)
        if isinstance(wanted, Leave):
            self._leave()
        elif wanted is not None:
            try:
                desk.answer(wanted.to, wanted.text, self._number)
            except Unanswerable as why:
                self._show(f"-- {why}")

    def _leave(self) -> None:
        if self._desk is not None and self._number is not None:
            self._desk.rise(self._number)
            self._number = None
            self._show("-- you left the console; messages are queued. A line joins again, Ctrl-C stops the daemon")


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


def desk_of(listeners: Iterable[Listener], name: str) -> Desk | None:
    """The operator queue of the console service of this name, or None if it is not served."""
    found = (one.served.service for one in listeners if one.name == name)
    service = next(found, None)
    return service.desk if isinstance(service, Console) else None


def shares_the_terminal() -> bool:
    """Whether standard error writes to the terminal on which the operator types."""
    return is_terminal() and sys.stderr.isatty()
