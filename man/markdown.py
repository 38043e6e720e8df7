"""The Markdown that our pages are written in, as blocks: no more of it than they use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A title; `level` is 1 for the page's own."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Prose, on one line."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list, each point on one line."""

    points: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Lines as they are; `fenced`, or else set in by four spaces, which is how our pages show what to type."""

    lines: tuple[str, ...]
    fenced: bool


@dataclass(frozen=True)
class Table:
    """Cells, row by row, without the line under the head."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = Heading | Paragraph | Bullets | Code | Table


class UnknownMarkdown(ValueError):
    """A form that none of our pages had until now: it is to be added here, or written otherwise there."""


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, in order. Raises UnknownMarkdown."""
    lines = page.splitlines()
    while lines:
        line = lines[0]
        if not line:
            lines.pop(0)
        elif line.startswith("```"):
            lines.pop(0)
            end = lines.index("```")
            yield Code(tuple(lines[:end]), fenced=True)
            del lines[: end + 1]
        elif line.startswith("    "):
            yield Code(tuple(each[4:] for each in _take(lines, "    ")), fenced=False)
        elif match := re.match(r"(#+) (.*)", line):
            lines.pop(0)
            yield Heading(len(match[1]), match[2])
        elif line.startswith("|"):
            head, _, *rows = (_cells(each) for each in _take(lines, r"\|"))
            yield Table(head, tuple(rows))
        elif line.startswith("* "):
            points = re.split(r"(?m)^\* ", "\n".join(_take(lines, r"\* |  \S")))[1:]
            yield Bullets(tuple(" ".join(point.split()) for point in points))
        elif re.match(r"[-+] |>|!\[|\d+\. |<| ", line):
            raise UnknownMarkdown(line)
        else:
            yield Paragraph(" ".join(_take(lines, r"(?![|#]|\* |    |```)")).replace(r"\|", "|"))


def _take(lines: list[str], pattern: str) -> list[str]:
    """The lines at the front that match, taken off."""
    taken = []
    while lines and lines[0] and re.match(pattern, lines[0]):
        taken.append(lines.pop(0))
    return taken


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
