"""The log of a worker: the parent writes it, so that its lines are limited, formatted and rotated in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from echod.event_catalogue import CATALOGUE
from echod.events import Events
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.log import LEVELS, Format, Log
from echod.workers.control_channel import ControlChannel

OF_THE_PARENT: Final = ("daemon.", "faults.", "listener.", "certificate.", "limit.", "log.", "worker.")
"""Events of the whole daemon: the parent reports them once."""


class ForwardedOutput(BackgroundWriter):
    """Sends lines to the parent as messages of this name, unless it reads too slowly; then they are lost, and counted.

    `terminal` is whether the parent writes them to a terminal.
    """

    def __init__(self, channel: ControlChannel, name: str, *, terminal: bool) -> None:
        super().__init__(-1)
        self._channel = channel
        self._name = name
        self._terminal = terminal

    def reopen(self) -> None:
        """Nothing: the parent opens its files again."""

    @property
    def is_terminal(self) -> bool:
        """As BackgroundWriter."""
        return self._terminal

    def start(self) -> None:
        """Nothing: no thread is needed."""

    def stop(self) -> None:
        """Nothing: the channel sends what is queued."""

    def put(self, text: str) -> int:
        """Send a text."""
        self.send(self._name, text=text.removesuffix("\n"))
        return len(text.encode("utf-8", "backslashreplace"))

    def send(self, name: str, **fields: Any) -> None:
        """Send a message, or count it as lost."""
        if self._channel.congested:
            self.lost += 1
        else:
            self._channel.send(name, fields)


def publish(events: Events, fields: Mapping[str, Any]) -> None:
    """Deliver an event that a worker has sent, if it is one of a worker in the form of the catalogue."""
    name, values = fields["event"], fields["fields"]
    if name in CATALOGUE and not name.startswith(OF_THE_PARENT) and not CATALOGUE[name].mismatch(values):
        events.tell(name, **values)


class ForwardedLog(Log):
    """Sends events and lines to the parent. Classes of lines are limited here, and by the parent for all workers."""

    def __init__(self, output: ForwardedOutput, level: str, later: Callable[..., Any]) -> None:
        self._forwarded = output
        self.watched = False  #: whether an event stream of the parent shows events of connections
        super().__init__(output, "text", level, later=later)

    def reconfigure(self, form: Format, level: str) -> None:
        """As Log; the form is the parent's."""
        super().reconfigure("text", level)

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """Send an event, if its level is logged or shown in event streams."""
        lowest = min(self._lowest, LEVELS["debug" if self.watched else "info"])  # streams of the parent have these
        if name.startswith(OF_THE_PARENT) or LEVELS[CATALOGUE[name].severity] < lowest:
            return
        if self.admits(name, fields):
            self._forwarded.send("event", event=name, fields=dict(fields))

    def _write(self, level: str, text: str, fields: Mapping[str, Any]) -> int:
        self._forwarded.send("line", level=level, text=text, fields=dict(fields))
        return len(text)
