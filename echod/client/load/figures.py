"""The figures of a load: by name for JSON, and as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from echod.client.histogram import Histogram
from echod.client.load.counts import LoadCounts
from echod.client.load.processor_usage import Usage
from echod.client.load.slices import Second
from echod.escaping import counted

PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "p9999": 0.9999}
SHOWN: Final = ("min", "p50", "p90", "p99", "p99.9", "p99.99", "max")
FEW: Final = ("min", "p50", "p99", "max")
MILLISECOND: Final = 1_000_000  #: nanoseconds
FULL: Final = 90.0
"""Percent of the time in which the generator ran or waited for a processor, from which on it was the limit."""
LATE: Final = 1.0
"""Milliseconds by which 1 % of the messages may be sent late without a warning."""


def milliseconds(times: Histogram) -> dict[str, float | None]:
    """The figures of a histogram of nanoseconds, in milliseconds; None without a value."""
    if not times.total:
        return dict.fromkeys(("min_ms", "avg_ms", *(f"{name}_ms" for name in PERCENTILES), "max_ms"))
    mean = min(max(times.mean, times.minimum), times.maximum)  # it is found from the middles of buckets
    found = {"min_ms": times.minimum, "avg_ms": mean}
    found |= {f"{name}_ms": times.percentile(fraction) for name, fraction in PERCENTILES.items()}
    return {name: round(value / MILLISECOND, 6) for name, value in (found | {"max_ms": times.maximum}).items()}


def figures(counts: LoadCounts, seconds: float, used: Usage, unsent: int, rate: float | None) -> dict[str, Any]:
    """All figures. `unsent` belongs to the schedule of `rate`.

    `seconds` of measuring end with the last message. `used` includes the time of waiting for replies that were lost.
    """
    seconds = max(seconds, 1e-9)
    return {
        "sent": counts.sent,
        "received": counts.received,
        "lost": counts.lost,
        "wrong": counts.wrong,
        "abandoned": counts.abandoned,
        "awaited": counts.awaited,
        "unsent": unsent,
        "duplicated": counts.duplicated,
        "reordered": counts.reordered,
        "late": counts.late,
        "bytes_sent": counts.bytes_sent,
        "bytes_received": counts.bytes_received,
        "opened": counts.connections,
        "messages_per_second": round(counts.received / seconds, 3),
        "bytes_per_second": round(counts.bytes_received / seconds, 3),
        **milliseconds(counts.latencies),
        "connecting": milliseconds(counts.connecting) if counts.connecting.total else None,
        "lateness": milliseconds(counts.lateness) if rate is not None else None,
        "failures": dict(sorted(counts.failures.items())),
        "generator": {
            "processor_ms": round(used.running / MILLISECOND, 3),
            "us_per_message": round(used.running / 1000 / counts.received, 3) if counts.received else None,
            "running_percent": round(100 * used.running / max(1, used.elapsed), 2),
            "waiting_percent": round(100 * used.waiting / max(1, used.elapsed), 2),
        },
    }


def warnings(found: Mapping[str, Any], rate: float | None) -> list[str]:
    """Warnings that the figures do not show what they seem to show."""
    said = []
    generator = found["generator"]
    if rate is None and found["received"] and generator["running_percent"] + generator["waiting_percent"] >= FULL:
        said.append(
            "the generator was the limit, not the service: it ran, or waited for a processor,"
            f" {generator['running_percent'] + generator['waiting_percent']:.0f}% of the time"
        )
    if found["unsent"]:
        said.append(f"{counted(found['unsent'], 'planned message was', 'planned messages were')} not sent: all")
        said[-1] += " connections were full; the service is slower than the rate, or --depth is too small"
    if rate is not None and (found["lateness"]["p99_ms"] or 0) > LATE:
        said.append(
            f"1% of the messages were sent more than {found['lateness']['p99_ms']:.3f} ms late, which is part of their"
            " latency: this machine is too slow, or busy"
        )
    return said


def lines(found: Mapping[str, Any], rate: float | None, *, datagrams: bool) -> list[str]:
    """The figures as lines of text; the first one has the counts."""
    counts = [f"{found['sent']:,} sent", f"{found['received']:,} received", f"{found['lost']:,} lost"]
    counts.append(f"{found['wrong']:,} wrong")
    names = ("duplicated", "reordered") if datagrams else ()
    counts += [f"{found[name]:,} {name}" for name in names]
    counts += [f"{found[name]:,} {name}" for name in ("late", "abandoned", "awaited") if found[name]]
    said = [", ".join(counts)]
    if found["received"]:
        said.append(f"{found['messages_per_second']:,.0f} messages/s, {byte_rate(found['bytes_per_second'])} each way")
        said.append(f"latency {_line(found)}")
    if found["connecting"]:
        said.append(f"connecting {_line(found['connecting'], few=True)}")
    if rate is not None and found["lateness"]["max_ms"] is not None:
        said.append(f"sent late by {_line(found['lateness'], few=True)}")
    if found["failures"]:
        said.append("failures: " + ", ".join(f"{count:,} {cause}" for cause, count in found["failures"].items()))
    generator = found["generator"]
    if generator["us_per_message"] is not None:
        said.append(
            f"generator: {generator['us_per_message']:.2f} µs of processor time a message; ran"
            f" {generator['running_percent']:.0f}% of the time, waited for a processor"
            f" {generator['waiting_percent']:.0f}%"
        )
    return said + [f"warning: {text}" for text in warnings(found, rate)]


def second_line(second: Second) -> str:
    """One line of progress."""
    size = max(second.bytes_sent, second.bytes_received)
    rates = f"{second.received / second.duration:>10,.0f} messages/s {byte_rate(size / second.duration):>12}"
    line = f"{second.end:>5.0f} s {rates}"
    if second.times.total:
        p50, p99 = (second.times.percentile(fraction) / MILLISECOND for fraction in (0.5, 0.99))
        line += f"  p50 {p50:.3f}  p99 {p99:.3f}  max {second.times.maximum / MILLISECOND:.3f} ms"
    return line + (f"  {second.failed:,} failed" if second.failed else "")


def byte_rate(a_second: float) -> str:
    """Bytes a second in the unit that fits, such as `1.60 MB/s`."""
    for unit, size in (("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3)):
        if a_second >= size:
            return f"{a_second / size:.2f} {unit}"
    return f"{a_second:.0f} B/s"


def _line(found: Mapping[str, Any], *, few: bool = False) -> str:
    shown = FEW if few else SHOWN
    values = (found[f"{name.replace('.', '')}_ms"] for name in shown)
    return f"{'/'.join(shown)} = {'/'.join(f'{value:.3f}' for value in values)} ms"
