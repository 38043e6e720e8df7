"""The arithmetic: what one slice of load says, and how slices become one figure. No file, no process, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import Any

Latencies = Mapping[int, int]
"""At most so many nanoseconds: so many messages. The load generator's buckets are at most 1.6 % wide."""


@dataclass(frozen=True)
class Slice:
    """One server under one workload in one round."""

    messages: int
    seconds: float
    cpu: float  #: seconds of the server's whole process tree, user and system
    load_cpu: float  #: seconds of the load generator
    lost: int  #: datagrams without an answer
    verified: int  #: octets compared
    latency: Latencies = field(repr=False)

    @classmethod
    def from_report(cls, report: Mapping[str, Any], cpu: float) -> Slice:
        """The load generator's report, and what the server's tree used meanwhile."""
        latency = {int(top): int(count) for top, count in report["latency"]}
        plain = {name: report[name] for name in ("messages", "seconds", "load_cpu", "lost", "verified")}
        return cls(cpu=cpu, latency=latency, **plain)

    @property
    def cpu_us(self) -> float:
        """Processor time a message, in microseconds."""
        return self.cpu / self.messages * 1e6

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def load_share(self) -> float:
        """How full the load generator's core was, 0 to 1: near 1 the rate is its limit, not the server's."""
        return self.load_cpu / self.seconds


Series = Mapping[int, Slice]
"""The slices of one server under one workload, by round."""


def percentile(latency: Latencies, share: float) -> float:
    """The latency in microseconds that `share` (0 to 1) of the messages did not exceed; the nearest rank.

    Raises ValueError where there is no message.
    """
    total = sum(latency.values())
    if total == 0:
        raise ValueError("there is no percentile of nothing")
    rank, seen = max(1, ceil(share * total)), 0
    for top in sorted(latency):
        seen += latency[top]
        if seen >= rank:
            return top / 1000
    raise AssertionError("the counts add up to the total")


def merged(latencies: Iterable[Latencies]) -> Latencies:
    """The messages of several slices as if of one."""
    total: Counter[int] = Counter()
    for latency in latencies:
        total.update(latency)
    return total


def ratio(of: Mapping[int, float], to: Mapping[int, float]) -> float | None:
    """The median of the ratios round by round, over the rounds that both have; None where there is none.

    What slows the machine for a round slows both, and leaves their ratio; a ratio of two medians would compare
    one round's weather with another's.
    """
    both = [of[number] / to[number] for number in of.keys() & to.keys() if to[number] > 0]
    return median(both) if both else None


@dataclass(frozen=True)
class Summary:
    """A server's line under one workload: medians over the rounds, percentiles over all their messages."""

    cpu_us: float
    rate: float
    p50: float
    p99: float
    load_share: float
    lost: int
    rounds: int


def summary(series: Series) -> Summary:
    """Needs at least one round."""
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
    """What a server's tree takes in user memory, in octets, before and while connections are open and idle."""

    connections: int
    before: int
    open: int  #: every connection open, most not used yet
    used: int  #: after each has sent one octet and got it back

    @property
    def per_connection(self) -> float:
        """The larger of the two: what is allocated by the first octet counts too."""
        return (max(self.open, self.used) - self.before) / self.connections


@dataclass
class Results:
    """All that was measured."""

    slices: dict[str, dict[str, dict[int, Slice]]] = field(default_factory=dict)  #: by workload, peer, round
    rests: dict[str, Rest] = field(default_factory=dict)  #: by peer
    remarks: list[str] = field(default_factory=list)  #: what was left out, and why
    failed: set[str] = field(default_factory=set)  #: peers that did not start, or answered wrongly or not at all

    def add(self, workload: str, peer: str, number: int, one: Slice) -> None:
        """Takes one slice."""
        self.slices.setdefault(workload, {}).setdefault(peer, {})[number] = one

    def drop(self, workload: str, peer: str) -> None:
        """Forgets a peer under one workload: some right answers do not make up for a wrong one."""
        self.slices.get(workload, {}).pop(peer, None)

    def ratio(self, workload: str, measure: str, of: str, to: str) -> float | None:
        """`of` against `to`, by "cpu" or "rate"; None where one of them was not measured."""
        rows = self.slices.get(workload, {})

        def by_round(peer: str) -> dict[int, float]:
            return {n: s.cpu_us if measure == "cpu" else s.rate for n, s in rows.get(peer, {}).items()}

        return ratio(by_round(of), by_round(to))
