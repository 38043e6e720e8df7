"""An event as a line of text and as a JSON object: the same ones in the log, in event streams and on the page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from echod.escaping import counted, escaped
from echod.event_catalogue import CATALOGUE

_SIZE: Final = re.compile(r"\d+ bytes")


def message(name: str, fields: Mapping[str, Any]) -> str:
    """The text of an event. It may have text of a peer: escape it before it is printed."""
    plain = {key: _plain(value) for key, value in fields.items()}
    if "proxy" in fields:
        plain["peer"] = f"{plain['peer']} (proxy {plain['proxy']})"
    return CATALOGUE[name].text.format_map(plain)


def record(level: str, text: str, fields: Mapping[str, Any], now: datetime | None = None) -> str:
    """One line of JSON, in ASCII: time, level, message and fields."""
    return json.dumps({"time": timestamp(now), "level": level, "message": escaped(text), **fields}, default=str)


def timestamp(now: datetime | None = None) -> str:
    """A time in the form of RFC 3339, in UTC with milliseconds."""
    return (now or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rate_class(name: str, fields: Mapping[str, Any]) -> str:
    """The events that share one rate: those of a name, or of a name and a cause."""
    rate = CATALOGUE[name].rate
    return f"{name}: {_cause(fields)}" if rate is not None and rate.by_cause else name


class _Count(int):
    """A number that a template can format with its noun: `{n:line|lines}`."""

    def __format__(self, spec: str) -> str:
        one, bar, many = spec.partition("|")
        return counted(self, one, many) if bar else super().__format__(spec)


def _cause(fields: Mapping[str, Any]) -> str:
    """The part of an error that no peer can choose: the words before what it has sent, without sizes."""
    return _SIZE.sub("bytes", re.split("[:,]", str(fields.get("error", "")), maxsplit=1)[0])


def _plain(value: Any) -> Any:
    """A field in the form that templates use."""
    if isinstance(value, dict):
        return json.dumps(value)
    return _Count(value) if type(value) is int else value
