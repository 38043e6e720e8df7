"""The log of a worker: the parent writes it, so that its lines are limited, formatted and rotated in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.log import EVERY, LEVELS, MOST, TEMPLATES, Format, Log
from echod.workers.control_channel import ControlChannel

OF_THE_PARENT: Final = ("daemon.", "listener.", "certificate.", "log.", "worker.")
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


class ForwardedLog(Log):
    """Sends events and lines to the parent. Classes of lines are limited here, and by the parent for all workers."""

    def __init__(self, output: ForwardedOutput, level: str, later: Callable[..., Any]) -> None:
        self._forwarded = output
        super().__init__(output, "text", level, later=later)

    def reconfigure(self, form: Format, level: str) -> None:
        """As Log; the form is the parent's."""
        super().reconfigure("text", level)

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """Send an event, if its level is logged."""
        level, _ = TEMPLATES[name]
        if name.startswith(OF_THE_PARENT) or LEVELS[level] < self._lowest:
            return
        most, seconds = (1, EVERY[name]) if name in EVERY else (MOST, 1.0)
        if self._passes(name, level, most, seconds):
            self._forwarded.send("event", event=name, fields=dict(fields))

    def _write(self, level: str, text: str, fields: Mapping[str, Any]) -> int:
        self._forwarded.send("line", level=level, text=text, fields=dict(fields))
        return len(text)
