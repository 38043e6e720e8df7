"""What a ping says at its end, for eyes and for programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from echod.client.probe_ledger import Account
from echod.client.statistics import Times

COUNTS: Final = ("duplicated", "reordered", "wrong")  #: of answers, beside what became of the probes
TIMES: Final = ("min", "avg", "median", "p99", "max", "stddev")


def figures(account: Account, times: Times, awaited: int) -> dict[str, Any]:
    """Every figure by its name; those of times are in milliseconds, and None where nothing was received.

    `awaited` is how many probes may yet be answered: they are not lost.
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
    return counts | {f"{name}_ms": _milliseconds(value) for name, value in _times(times).items()}


def lines(found: Mapping[str, Any], *, connecting: bool = False) -> list[str]:
    """The figures as a person reads them."""
    sent, received = ("tried", "connected") if connecting else ("sent", "received")
    said = [f"{found['sent']} {sent}, {found['received']} {received}"]
    said.append(f"{found['lost']} lost ({_percent(found['lost_percent'])}%)")
    said += [f"{found[name]} {name}" for name in ("awaited", "late") if found[name]]
    if not connecting:
        said += [f"{found[name]} {name}" for name in COUNTS]
    if not found["received"]:
        return [", ".join(said)]
    values = "/".join(f"{found[f'{name}_ms']:.3f}" for name in TIMES)
    return [", ".join(said), f"{'/'.join(TIMES)} = {values} ms, jitter {found['jitter_ms']:.3f} ms"]


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
    """Two digits behind the point at most, and never `0` or `100` of what is neither."""
    text = f"{min(max(share, 0.01), 99.99) if 0 < share < 100 else share:.2f}"
    return text.rstrip("0").rstrip(".")
