"""The summary of a ping, as text and for JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from echod.client.probe_ledger import ProbeLedger
from echod.client.statistics import Times

COUNTS: Final = ("duplicated", "reordered", "wrong")  #: counts of replies, after the counts of probes
PARTS: Final = ("tcp", "tls")  #: parts of the times of connections
TIMES: Final = ("min", "avg", "median", "p99", "max", "stddev")


def figures(account: ProbeLedger, times: Times, awaited: int, parts: Mapping[str, Times] = {}) -> dict[str, Any]:
    """All figures by name. Times are in milliseconds, or None if no reply was received.

    `awaited` is the number of probes that can still get a reply; they do not count as lost. `parts` are the times of
    parts of each probe, by name.
    """
    lost = account.sent - account.received - awaited
    counts = {
        "sent": account.sent,
        "received": account.received,
        "lost": lost,
        "lost_percent": round(100 * lost / (account.received + lost), 4) if lost else 0.0,
        "awaited": awaited,
        "late": account.late,
        **{name: getattr(account, name) for name in COUNTS},
    }
    return counts | _in_milliseconds(times) | {name: _in_milliseconds(part) for name, part in parts.items()}


def lines(found: Mapping[str, Any], *, connecting: bool = False) -> list[str]:
    """The figures as lines of text."""
    sent, received = ("tried", "connected") if connecting else ("sent", "received")
    counts = [f"{found['sent']} {sent}, {found['received']} {received}"]
    counts.append(f"{found['lost']} lost ({_percent(found['lost_percent'])}%)")
    counts += [f"{found[name]} {name}" for name in ("awaited", "late") if found[name]]
    if not connecting:
        counts += [f"{found[name]} {name}" for name in COUNTS]
    if not found["received"]:
        return [", ".join(counts)]
    parts = [f"{name} {_line(found[name])}" for name in PARTS if name in found]
    return [", ".join(counts), _line(found), *parts]


def _line(found: Mapping[str, Any]) -> str:
    values = "/".join(f"{found[f'{name}_ms']:.3f}" for name in TIMES)
    return f"{'/'.join(TIMES)} = {values} ms, jitter {found['jitter_ms']:.3f} ms"


def _in_milliseconds(times: Times) -> dict[str, float | None]:
    return {f"{name}_ms": _milliseconds(value) for name, value in _times(times).items()}


def _times(times: Times) -> dict[str, float | None]:
    if not times.count:
        return dict.fromkeys((*TIMES, "jitter"))
    return {
        "min": times.minimum,
        "avg": times.mean,
        "median": times.quantile(0.5),
        "p99": times.quantile(0.99),
        "max": times.maximum,
        "stddev": times.deviation,
        "jitter": times.jitter,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 6)


def _percent(share: float) -> str:
    """A percentage with at most two decimals; `0` and `100` only if they are exact."""
    text = f"{min(max(share, 0.01), 99.99) if 0 < share < 100 else share:.2f}"
    return text.rstrip("0").rstrip(".")
