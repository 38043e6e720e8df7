"""docs/SECURITY.md lists the refusal reasons and the figures of the code."""

from __future__ import annotations

import re
from pathlib import Path

from echod.gate.datagrams import REFLECTORS
from echod.gate.network_rate import BYTES, MUTE, SAME, TOTAL, TOTAL_BYTES
from echod.gate.refusal import Refusal

PAGE = (Path(__file__).parents[2] / "docs" / "SECURITY.md").read_text("utf-8")


def row(reason: str) -> str:
    """The description of a reason on the page."""
    (said,) = re.findall(rf"^\| `{reason}` \| (.*) \|$", PAGE, re.MULTILINE)
    return str(said)


def test_every_reason_has_its_row():
    assert re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE) == [str(reason) for reason in Refusal]


def test_the_figures_are_those_of_the_code():
    assert set(map(int, re.findall(r"\b(\d{4,5})\b", row("source-port").partition("or ")[2]))) == REFLECTORS
    assert f"{int(BYTES.per_second) // 1024} KiB a second" in row("bytes")
    assert f"{int(TOTAL.per_second):,} datagrams or {int(TOTAL_BYTES.per_second) >> 20} MiB a second" in row("total")
    assert f"{SAME} times in a second" in row("repeat")
    assert MUTE == 60.0
    assert "for a minute" in row("repeat")
