"""The result of a ping as that of a monitoring plugin: one line, and an exit code. Pure.

The format is that of the Monitoring Plugins Development Guidelines: a status, a text, and performance data after a |.
Numbers of performance data consist of digits, a sign and a point: exponents are not permitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from echod.config.units import number_text

STATES: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")  #: by exit code
OK, WARNING, CRITICAL, UNKNOWN = range(4)

Threshold = tuple[float, float]
"""Seconds of the mean round-trip time, and a loss in percent; above one of them the threshold is exceeded."""


def state_of(found: Mapping[str, Any], warn: Threshold | None, critical: Threshold | None) -> int:
    """The exit code for the figures of a ping."""
    if not found["sent"] or not found["received"] + found["lost"] + found["wrong"]:
        return UNKNOWN
    if not found["received"]:
        return CRITICAL
    for code, limit in ((CRITICAL, critical), (WARNING, warn)):
        if limit is not None and (found["avg_ms"] > limit[0] * 1000 or found["lost_percent"] > limit[1]):
            return code
    return WARNING if found["wrong"] else OK


def line(
    label: str,
    found: Mapping[str, Any],
    code: int,
    warn: Threshold | None,
    critical: Threshold | None,
    error: str | None,
) -> str:
    """The line of a plugin."""
    time = "no reply" if found["avg_ms"] is None else f"{found['avg_ms']:.3f} ms"
    percent = f"{number_text(found['lost_percent'])}%"
    text = f"PING {STATES[code]} - {error or f'{label}: {time}, {percent} lost'}".replace("|", "/")
    seconds = "U" if found["avg_ms"] is None else f"{found['avg_ms'] / 1000:.6f}s"
    limits = [_limits(warn, critical, part) for part in (0, 1)]
    return f"{text} | rta={seconds};{limits[0]};0 pl={percent};{limits[1]};0;100"


def _limits(warn: Threshold | None, critical: Threshold | None, part: int) -> str:
    return ";".join(
        "" if limit is None or limit[part] == math.inf else number_text(limit[part], 9) for limit in (warn, critical)
    )
