"""The segments that `docs.figures.capture` has saved, as messages of a sequence diagram."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from docs.figures.drawing import Kind, Language, words
from docs.figures.sequence import Sequence

DATA: Final = Path(__file__).with_name("data")
Segment = dict[str, Any]


def segments(name: str) -> list[Segment]:
    """The saved segments of a run."""
    found: list[Segment] = json.loads((DATA / f"{name}.json").read_text("utf-8"))
    return found


def label(segment: Segment, language: Language) -> str:
    """The flags, the numbers and the data of a segment."""
    t = words(language)
    parts = [flag for flag in segment["flags"] if flag not in ("ACK", "PSH")]
    if data := segment["data"]:
        quoted = [f'"{data}"'] if data.isalpha() else []
        parts += [*quoted, t(f"{len(data)} bytes", f"{len(data)} 字节")]
    if parts:
        parts.append(f"seq {segment['sequence']}")
    if "ACK" in segment["flags"]:
        parts.append(f"ACK {segment['acknowledged']}")
    return t(", ", "，").join(parts)


def add(drawing: Sequence, name: str, notes: Callable[[int], None]) -> None:
    """Add each segment to a drawing; `notes` is called with its number before each, and at the end."""
    for number, segment in enumerate(segments(name)):
        notes(number)
        kind: Kind = "wrong" if "RST" in segment["flags"] else segment["sender"]
        (drawing.send if segment["sender"] == "client" else drawing.reply)(label(segment, drawing.language), kind)
    notes(len(segments(name)))
