"""The parts of an exercise: its texts, and an attempt that judges what a program sends and receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from echod.client.lessons.texts import Statement, Text


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


class Attempt(Protocol):
    """One attempt at an exercise, from the start of its sockets to the verdict."""

    may_crash: bool  #: whether the present run of the program may end with an exit code other than 0

    def start(self) -> Mapping[str, str]:
        """Open the sockets, and return the values of the placeholders in the command. Raises OSError."""

    def missing(self) -> Statement:
        """The event that has not happened yet, if the time is over or the program has ended."""

    def printed(self, output: str) -> Statement | None:
        """The error in the output of a program that has passed otherwise, or None."""

    def run_begins(self) -> None:
        """Another run of the program begins (`Stage.next_run`)."""


@dataclass(frozen=True)
class Exercise:
    """One exercise. `page` is the file of its lesson below `docs/course`, without `.md`."""

    number: int
    page: str
    title: Text
    goal: Text
    task: Text
    hints: Sequence[Text]
    begin: Callable[[Stage, Any], Attempt]  #: with the sockets of the attempt
    arguments: Sequence[str] = ("port",)
    """The placeholders that the program needs. They are appended to a command that has none."""
    learner_serves: bool = False  #: whether the program is a server, and the exercise its client
