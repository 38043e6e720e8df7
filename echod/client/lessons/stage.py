"""The environment of an attempt, as its judge sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from echod.client.lessons.texts import Text


class Stage(Protocol):
    """The environment of an attempt: it ends the attempt, or starts the program of the learner once more."""

    has_program: bool  #: whether the command runs the program; otherwise the learner does
    port: int  #: of the server of the learner
    directory: str  #: a folder for files of the attempt

    @property
    def output(self) -> str:
        """The output of the program so far."""

    def passed(self) -> None:
        """The program has passed. Only the first verdict of an attempt counts."""

    def failed(self, text: Text, **values: object) -> None:
        """The program has not passed; the text says what was expected and what arrived."""

    def note(self, text: Text, **values: object) -> None:
        """Print what happens now."""

    def next_run(self) -> None:
        """The program has passed this run: it runs once more, after it has ended."""

    def restart(self, ended: Callable[[], None]) -> None:
        """Start the program again after its end, then call `ended`; without a command, only call it."""

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function after some seconds, unless the attempt has ended."""
