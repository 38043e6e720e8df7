"""The head of a summary: what was measured, when, and how. `ping` and `bench` share it, and one JSON Schema. Pure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from echod.client.histogram import Histogram
from echod.version import VERSION

SCHEMA: Final = "https://example.org/echod/summary-1.schema.json"
"""The `$id` of the schema, and the `$schema` of each summary. A change that breaks a reader needs another number."""


def head(
    program: str,
    url: str,
    remote: str | None,
    started: float,
    seconds: float,
    options: dict[str, Any],
    error: str | None,
) -> dict[str, Any]:
    """The first keys of a summary.

    `program` is the command, such as `echoctl ping`. `remote` is the address that replied. `started` is in seconds
    since 1970, and `seconds` is the duration. `error` ended the measurement early.
    """
    return {
        "$schema": SCHEMA,
        "program": program,
        "version": VERSION,
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "url": url,
        "remote": remote,
        "duration_ms": round(seconds * 1000, 3),
        "options": options,
        "error": error,
    }


def given_options(arguments: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Those of the named options that were given, with values for JSON."""
    found = {name: getattr(arguments, name) for name in names}
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in found.items()
        if value is not None and value is not False
    }


def histogram_figures(times: Histogram) -> dict[str, Any]:
    """A histogram for JSON: the lowest and the highest value of each bucket in nanoseconds, and its count."""
    return {"unit": "ns", "digits": times.digits, "buckets": [list(bucket) for bucket in times.buckets()]}


def schema() -> dict[str, Any]:
    """The published JSON Schema of summaries, and of the lines of `--json-lines`."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("summary.schema.json").read_text("utf-8"))
    return found
