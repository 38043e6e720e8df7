"""An exercise: its texts, and the judge that begins an attempt at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from echod.client.lessons.judge import Judge
from echod.client.lessons.sockets import Sockets
from echod.client.lessons.stage import Stage
from echod.client.lessons.texts import Text


@dataclass(frozen=True)
class Exercise:
    """One exercise. `page` is the file of its lesson below `docs/course`, without `.md`."""

    number: int
    page: str
    title: Text
    goal: Text
    task: Text
    hints: Sequence[Text]
    begin: Callable[[Stage, Sockets], Judge]
    arguments: Sequence[str] = ("port",)
    """The placeholders that the program needs. They are appended to a command that has none."""
    learner_serves: bool = False  #: whether the program is a server, and the exercise its client
