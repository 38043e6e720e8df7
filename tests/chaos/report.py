"""The results of a run: a figure for each server that was attacked, and whether echod kept its promise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.chaos.lab import Lab

KEPT, BROKEN, NOT_TRIED = "kept", "BROKEN", "not tried"


def many(count: int, what: str) -> str:
    """`1 line`, `1,000 lines`, `2 replies`."""
    return f"{count:,} {what if count == 1 else f'{what[:-1]}ies' if what.endswith('ly') else f'{what}s'}"


class Subject(StrEnum):
    """A server under attack."""

    ECHOD = "echod"
    PLAIN = "echod, plane off"
    STOCK = "stock Twisted"
    XINETD = "xinetd"
    OPENBSD = "openbsd-inetd"
    HAPROXY = "HAProxy"
    NGINX = "nginx"
    NCAT = "ncat"
    SOCAT = "socat"
    WORKERS = "echod, 2 workers"


ONE_PROCESS: Final = (Subject.ECHOD, Subject.PLAIN)
OURS: Final = (*ONE_PROCESS, Subject.WORKERS)


@dataclass(frozen=True)
class Figure:
    """The result of one server. `kept` is None without a promise, as for all servers except echod."""

    subject: str
    text: str
    kept: bool | None = None
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """One attack, by its number in docs/PROMISES.md."""

    number: int
    title: str
    promise: str
    attack: Callable[[Lab], Iterator[Figure]]


@dataclass
class Outcome:
    """One scenario that was run, or could not be run."""

    scenario: Scenario
    figures: list[Figure] = field(default_factory=list)
    lacking: str = ""  #: what was missing, if it was not run
    failure: str = ""  #: an error of the attack itself
    seconds: float = 0.0
    busy: float = 0.0  #: share of all processors that other processes used in the second before

    @property
    def verdict(self) -> str:
        """One word, for echod only."""
        if self.failure or any(figure.kept is False for figure in self.figures):
            return BROKEN
        return KEPT if any(figure.kept for figure in self.figures) else NOT_TRIED

    def lines(self) -> Iterator[str]:
        """The printed form."""
        yield f"{self.scenario.number:2}  {self.scenario.title}"
        rows = [("promise", self.scenario.promise)]
        rows += [(figure.subject, figure.text + (" ✗" if figure.kept is False else "")) for figure in self.figures]
        if self.lacking:
            rows.append(("lacking", self.lacking))
        if self.failure:
            rows.append(("failed", self.failure))
        rows.append(("verdict", self.verdict))
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            yield f"    {name:{width}}  {text}"

    def document(self) -> dict[str, Any]:
        """The form in the document of --json."""
        return {
            "number": self.scenario.number,
            "title": self.scenario.title,
            "promise": self.scenario.promise,
            "verdict": self.verdict,
            "lacking": self.lacking,
            "failure": self.failure,
            "seconds": round(self.seconds, 1),
            "busy": round(self.busy, 2),
            "figures": [
                {"subject": str(figure.subject), "text": figure.text, "kept": figure.kept, "values": figure.values}
                for figure in self.figures
            ],
        }


def play(
    running: Iterable[Outcome], file: Path | None, known: Callable[[], Mapping[str, Any]]
) -> tuple[list[Outcome], bool]:
    """Print each outcome when it is ready; returns all of them, and False if the user interrupted.

    At the end, which may be early, `file` receives what is `known` then, followed by the outcomes.
    """
    outcomes: list[Outcome] = []
    try:
        for outcome in running:
            outcomes.append(outcome)
            print("", *outcome.lines(), sep="\n", flush=True)
    except KeyboardInterrupt:
        return outcomes, False
    finally:
        if file:
            document = {**known(), "outcomes": [outcome.document() for outcome in outcomes]}
            file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return outcomes, True
