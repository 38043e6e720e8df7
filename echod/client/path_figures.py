"""The figures of a ping beyond round-trip times, for JSON and as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from echod.client.dscp_marks import dscp_line
from echod.client.loss_pattern import LossPattern, confidence
from echod.client.stamp_session import StampSession
from echod.client.statistics import Times
from echod.escaping import counted
from echod.measurement.clock_quality import ClockQuality

PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
ENOUGH: Final = 100  #: probes from which on percentiles and the interval of the loss are printed
_BARS: Final = 40  #: characters of the longest bar of a histogram


def loss_figures(pattern: LossPattern, lost: int, of: int) -> dict[str, Any]:
    """How probes were lost; `of` is the number of probes that are received or lost."""
    low, high = confidence(lost, of)
    return {
        "lost_interval_percent": [round(low, 4), round(high, 4)],
        "longest_burst": pattern.longest,
        "bursts": {str(length): count for length, count in sorted(pattern.bursts.items())},
        "outages": pattern.outages,
        "outage_ms": round(pattern.outage_seconds * 1000, 3),
    }


def percentile_figures(times: Times) -> dict[str, Any]:
    """The percentiles in milliseconds."""
    return {
        f"{name}_ms": round(times.quantile(share) * 1000, 6) if times.count else None
        for name, share in PERCENTILES.items()
    }


def pacing_figures(lateness: Times) -> dict[str, Any]:
    """How late probes were sent, in microseconds."""
    if not lateness.count:
        return {"pacing": None}
    values = {"median": lateness.quantile(0.5), "p99": lateness.quantile(0.99), "max": lateness.maximum}
    return {"pacing": {f"{name}_us": round(value * 1e6, 1) for name, value in values.items()}}


def direction_figures(session: StampSession | None, sent: int, here: ClockQuality) -> dict[str, Any]:
    """The figures of both directions; None for all of them if no reflector has replied."""
    found: dict[str, Any] = {"service": None, "forward": None, "backward": None, "server": None, "clock": None}
    if session is None:
        return found
    found["service"] = ", ".join(sorted(session.repliers)) or None
    if (dscp := session.dscp.figures()) is not None:
        found["dscp"] = dscp
    times, loss = session.directions, session.loss
    if session.processing.count:
        found["server"] = _server(session.processing)
    if not times.forward.count and not (session.processing.count and loss.is_known):
        return found
    lost = loss.lost(sent)
    for name, one, duplicated, reordered in (
        ("forward", times.forward, loss.duplicated_forward, loss.reordered_forward),
        ("backward", times.backward, loss.duplicated_backward, loss.reordered_backward),
    ):
        known = loss.is_known
        found[name] = one.figures() | {
            "lost": lost[name],
            "duplicated": duplicated if known else None,
            "reordered": reordered if known else None,
        }
    if not times.forward.count:  # UDPEchoPlus: its clock has no date
        return found
    found["server"] = _server(times.processing)
    offset = times.offset
    found["clock"] = {
        "offset_ms": round(offset.seconds * 1000, 6),
        "uncertainty_ms": round(offset.uncertainty * 1000, 6),
        "drift_ppm": None if times.drift is None else round(times.drift * 1e6, 3),
        "synchronized": here.synchronized and times.synchronized,
        "error_ms": round(here.error * 1000, 3),
        "server_error_ms": round(times.remote_error * 1000, 3),
        "steps": session.clock_steps,
        "doubt": times.doubts(here_synchronized=here.synchronized),
    }
    return found


def _server(times: Times) -> dict[str, Any]:
    values = (times.minimum, times.mean, times.quantile(0.5), times.quantile(0.99), times.maximum)
    names = ("min", "avg", "median", "p99", "max")
    return {f"{name}_ms": round(value * 1000, 6) for name, value in zip(names, values, strict=True)}


def more_lines(found: Mapping[str, Any], *, verbose: bool) -> list[str]:
    """The lines of text after those of the summary: only what this ping has found."""
    lines = []
    if found["received"] >= ENOUGH or (verbose and found["received"]):
        values = "/".join(f"{found[f'{name}_ms']:.3f}" for name in PERCENTILES)
        lines.append(f"p50/p90/p95/p99/p99.9 = {values} ms")
    if found["lost"] and (verbose or found["lost"] + found["received"] >= ENOUGH):
        low, high = found["lost_interval_percent"]
        outages = counted(found["outages"], "outage", "outages")
        outages = f", {outages} of {found['outage_ms'] / 1000:.3f} s" if found["outages"] else ""
        lines.append(f"loss {low:.2f}–{high:.2f}% (95% confidence), longest burst {found['longest_burst']}{outages}")
    for name in ("forward", "backward"):
        if found[name] is not None:
            lines.append(_direction(name, found[name]))
    if "dscp" in found:
        lines.append(dscp_line(found["dscp"]))
    if found["server"] is not None:
        lines.append(f"server avg/p99/max = {_three(found['server'], 'avg', 'p99', 'max')} ms")
    lines += _clock(found)
    if verbose and found["pacing"] is not None:
        pacing = found["pacing"]
        lines.append(f"pacing: late by {pacing['median_us']:.1f}/{pacing['p99_us']:.1f}/{pacing['max_us']:.1f} us")
    return lines


def _direction(name: str, one: Mapping[str, Any]) -> str:
    if one["avg_ms"] is None:
        return f"{name}: {one['lost']} lost, {one['duplicated']} duplicated, {one['reordered']} reordered"
    text = f"{name} min/avg/max = {_three(one, 'min', 'avg', 'max')} ms, jitter {one['jitter_ms']:.3f} ms"
    if one["lost"] is None:
        return text
    return f"{text}, {one['lost']} lost, {one['duplicated']} duplicated, {one['reordered']} reordered"


def _clock(found: Mapping[str, Any]) -> list[str]:
    clock = found["clock"]
    if clock is None:
        return []
    drift = "" if clock["drift_ppm"] is None else f", drift {clock['drift_ppm']:.1f} ppm"
    lines = [f"clock offset {clock['offset_ms']:.3f} ± {clock['uncertainty_ms']:.3f} ms{drift}"]
    if clock["doubt"]:
        lines.append(f"warning: the delays of each direction may be wrong: {clock['doubt']}; jitter is not affected")
    if clock["steps"]:
        lines.append(f"warning: this machine's clock was stepped {clock['steps']} times; round-trip times are right")
    return lines


def _three(of: Mapping[str, Any], *names: str) -> str:
    return "/".join(f"{of[f'{name}_ms']:.3f}" for name in names)


def histogram(times: Times) -> list[str]:
    """A histogram of the times as lines, with buckets of powers of two."""
    counts = times.doubling_buckets()
    most = max(counts.values(), default=0)
    return [
        f"{low * 1000:10.3f} ms {count:8}  {'#' * max(1, round(_BARS * count / most)) if count else ''}".rstrip()
        for low, count in counts.items()
    ]
