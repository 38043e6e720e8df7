"""A record as one line of CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any


def csv_line(values: Sequence[Any]) -> str:
    """A line of comma-separated values (RFC 4180), with LF as the line end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def json_line(columns: Sequence[str], values: Sequence[Any]) -> str:
    """A JSON object on one line, without the keys whose value is None. There must be a value for each column."""
    named = zip(columns, values, strict=True)
    return json.dumps({name: value for name, value in named if value is not None}) + "\n"
