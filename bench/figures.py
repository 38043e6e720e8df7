"""The arithmetic of the report: from slices of load to one figure. It uses no file, process or clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import Any

Latencies = Mapping[int, int]
"""(nanoseconds, messages): how many messages took at most so long. A bucket is at most 1.6 % wide."""


@dataclass(frozen=True)
class Slice:
    """The measurement of one server under one workload in one round."""

    messages: int
    seconds: float
    cpu: float  #: processor seconds of the server's whole process tree, user and system
    load_cpu: float  #: processor seconds of the load generator
    lost: int  #: datagrams without a reply
    verified: int  #: bytes compared
    latency: Latencies = field(repr=False)

    @classmethod
    def from_report(cls, report: Mapping[str, Any], cpu: float) -> Slice:
        """Combine the load generator's report with the processor time of the server's process tree."""
        latency = {int(top): int(count) for top, count in report["latency"]}
        plain = {name: report[name] for name in ("messages", "seconds", "load_cpu", "lost", "verified")}
        return cls(cpu=cpu, latency=latency, **plain)

    @property
    def cpu_us(self) -> float:
        """Processor time per message, in microseconds."""
        return self.cpu / self.messages * 1e6

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def load_share(self) -> float:
        """Load of the load generator's core, 0 to 1. Near 1 the rate is limited by the load generator."""
        return self.load_cpu / self.seconds


Series = Mapping[int, Slice]
"""The slices of one server under one workload, by round."""


def percentile(latency: Latencies, share: float) -> float:
    """The latency in microseconds of the nearest rank: the lowest that `share` (0 to 1) of the messages do not exceed.

    Raises ValueError if no message was counted.
    """
    total = sum(latency.values())
    if total == 0:
        raise ValueError("a percentile needs at least one message")
    rank, seen = max(1, ceil(share * total)), 0
    for top in sorted(latency):
        seen += latency[top]
        if seen >= rank:
            return top / 1000
    raise AssertionError("the counts add up to the total")


def merged(latencies: Iterable[Latencies]) -> Latencies:
    """Merge the latencies of several slices."""
    total: Counter[int] = Counter()
    for latency in latencies:
        total.update(latency)
    return total


def ratio(of: Mapping[int, float], to: Mapping[int, float]) -> float | None:
    """The median of the ratios of the rounds that both servers have, or None if they share no round.

    A machine that is slow for one round slows both servers, and their ratio stays. A ratio of two medians would compare
    different rounds.
    """
    both = [of[number] / to[number] for number in of.keys() & to.keys() if to[number] > 0]
    return median(both) if both else None


@dataclass(frozen=True)
class Summary:
    """The figures of a server under one workload: medians over the rounds, percentiles over all their messages."""

    cpu_us: float
    rate: float
    p50: float
    p99: float
    load_share: float
    lost: int
    rounds: int


def summary(series: Series) -> Summary:
    """Compute them. Needs at least one round."""
    slices = list(series.values())
    latency = merged(each.latency for each in slices)
    return Summary(
        cpu_us=median(each.cpu_us for each in slices),
        rate=median(each.rate for each in slices),
        p50=percentile(latency, 0.5),
        p99=percentile(latency, 0.99),
        load_share=median(each.load_share for each in slices),
        lost=sum(each.lost for each in slices),
        rounds=len(slices),
    )


@dataclass(frozen=True)
class Rest:
    """User memory of a server's process tree, in bytes, before and while connections are open and idle."""

    connections: int
    before: int
    open: int  #: after every connection was opened, before most were used
    used: int  #: after each connection has sent one byte and received the reply

    @property
    def per_connection(self) -> float:
        """Bytes per connection, from the larger figure: memory that the first byte allocates is included."""
        return (max(self.open, self.used) - self.before) / self.connections


@dataclass
class Results:
    """Everything that was measured."""

    slices: dict[str, dict[str, dict[int, Slice]]] = field(default_factory=dict)  #: by workload, peer, round
    rests: dict[str, dict[str, Rest]] = field(default_factory=dict)  #: by memory row, peer
    remarks: list[str] = field(default_factory=list)  #: what was left out, with the reason
    failed: set[str] = field(default_factory=set)  #: peers that did not start, did not reply or sent a wrong reply

    def add(self, workload: str, peer: str, number: int, one: Slice) -> None:
        """Add one slice."""
        self.slices.setdefault(workload, {}).setdefault(peer, {})[number] = one

    def drop(self, workload: str, peer: str) -> None:
        """Remove a peer's slices of one workload, after a wrong reply: its earlier figures do not count."""
        self.slices.get(workload, {}).pop(peer, None)

    def ratio(self, workload: str, measure: str, of: str, to: str) -> float | None:
        """The ratio of `of` to `to`, by "cpu" or "rate"; None if one of them was not measured."""
        rows = self.slices.get(workload, {})

        def by_round(peer: str) -> dict[int, float]:
            return {n: s.cpu_us if measure == "cpu" else s.rate for n, s in rows.get(peer, {}).items()}

        return ratio(by_round(of), by_round(to))
