"""The metrics of a ping for Prometheus: counters of each target, which outlive a run that ended early.

docs/MEASURING.md lists the names. A test compares the page with this file. A target has one label for its URL and one
for its flow, so the number of time series depends on the command line only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from echod.client.loss_pattern import OUTAGE, Outage
from echod.client.ping_output import Silent
from echod.client.probe_ledger import ProbeResult, ReplyClass

TARGET: Final = ("target", "flow")
BOUNDS: Final = (*(step * 10.0**power for power in range(-5, 1) for step in (1, 2.5, 5)), 10.0)
"""Upper bounds of the buckets, in seconds: from 10 µs to 10 s."""
DIRECTIONS: Final = ("forward", "backward", "server")


class TargetMetrics(Silent):
    """The metrics of one target, from the events of its output. They are passed on to `output`, which prints them."""

    def __init__(self, target: str, flow: int, output: Silent) -> None:
        self.labels = (target, str(flow))
        self.output = output
        self.replies = dict.fromkeys((kind.value for kind in ReplyClass), 0)
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.one_way = {name: [0, 0.0] for name in DIRECTIONS}  #: number and sum of the delays
        self.lost_probes = 0
        self.outages = 0
        self.outage_seconds = 0.0
        self.failures = 0  #: runs that ended early
        self.earlier_sent = 0  #: probes of earlier runs
        self._is_up = False
        self._losses = 0  # in a row

    @property
    def is_up(self) -> bool:
        """Whether the last probes were not all lost: a reply has arrived, and since then no outage has begun."""
        return self._is_up

    def failed(self) -> None:
        """The run has ended early; another one follows."""
        self.failures += 1
        self._is_up = False

    def started(self, label: str, what: str, interval: float) -> None:
        self.output.started(label, what, interval)

    def reply(self, finding: ProbeResult, remote: str, *, connecting: bool) -> None:
        self.replies[finding.kind.value] += 1
        if finding.kind in (ReplyClass.RECEIVED, ReplyClass.REORDERED):
            self._is_up, self._losses = True, 0
            if finding.seconds is not None:
                self.buckets[bisect_left(BOUNDS, finding.seconds)] += 1
                self.seconds += finding.seconds
            for name, seconds in zip(DIRECTIONS, finding.one_way or (), strict=False):
                self.one_way[name][0] += 1
                self.one_way[name][1] += seconds
        self.output.reply(finding, remote, connecting=connecting)

    def lost(self, number: int, why: str, remote: str, *, told: bool = False) -> None:
        self.lost_probes += 1
        self._losses += 1
        if self._losses == OUTAGE:
            self._is_up = False
            self.outages += 1
        self.output.lost(number, why, remote, told=told)

    def outstanding(self, number: int) -> None:
        self.output.outstanding(number)

    def outage(self, outage: Outage) -> None:
        self.outage_seconds += outage.seconds
        self.output.outage(outage)

    def summary(self, title: str, lines: Sequence[str], *, bad: bool) -> None:
        self.output.summary(title, lines, bad=bad)

    def facts(self, found: Mapping[str, Any]) -> None:
        self.output.facts(found)


class PingCollector(Collector):
    """Collects the metrics of all targets, with the figures of their present runs, at each request."""

    def __init__(self, targets: Sequence[TargetMetrics], figures: Any) -> None:
        self._targets = targets
        self._figures = figures  # returns the figures of each target so far

    def describe(self) -> Iterator[Metric]:
        """Nothing: a registry that asks for names would collect before the first run exists."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        found: list[Mapping[str, Any]] = self._figures()
        pairs = list(zip(self._targets, found, strict=True))
        sent = CounterMetricFamily("echoctl_ping_probes_sent", "Probes that were sent.", labels=TARGET)
        replies = CounterMetricFamily("echoctl_ping_replies", "Replies, by result.", labels=(*TARGET, "result"))
        lost = CounterMetricFamily("echoctl_ping_probes_lost", "Probes without a reply in time.", labels=TARGET)
        up = GaugeMetricFamily("echoctl_ping_up", "0 in an outage and before the first reply, else 1.", labels=TARGET)
        outages = CounterMetricFamily("echoctl_ping_outages", "Outages: three lost probes in a row.", labels=TARGET)
        seconds = CounterMetricFamily("echoctl_ping_outage_seconds", "Time of outages that ended.", labels=TARGET)
        failures = CounterMetricFamily("echoctl_ping_failures", "Runs that ended early.", labels=TARGET)
        for one, figures in pairs:
            sent.add_metric(one.labels, one.earlier_sent + figures["sent"])
            for result, count in one.replies.items():
                replies.add_metric((*one.labels, result), count)
            lost.add_metric(one.labels, one.lost_probes)
            up.add_metric(one.labels, int(one.is_up))
            outages.add_metric(one.labels, one.outages)
            seconds.add_metric(one.labels, one.outage_seconds)
            failures.add_metric(one.labels, one.failures)
        yield from (sent, replies, lost, up, outages, seconds, failures)
        yield self._round_trips()
        yield self._delays()
        yield from self._of_figures(pairs)

    def _round_trips(self) -> Metric:
        family = HistogramMetricFamily("echoctl_ping_rtt_seconds", "Round-trip times.", labels=TARGET)
        for one in self._targets:
            count, buckets = 0, []
            for bound, more in zip((*BOUNDS, "+Inf"), one.buckets, strict=True):
                count += more
                buckets.append((bound if isinstance(bound, str) else f"{bound:g}", count))
            family.add_metric(one.labels, buckets, one.seconds)
        return family

    def _delays(self) -> Metric:
        text = "Delays of each direction by the reflector's timestamps, and the time in the reflector."
        family = SummaryMetricFamily("echoctl_ping_delay_seconds", text, labels=(*TARGET, "direction"))
        for one in self._targets:
            for name, (count, total) in one.one_way.items():
                if count:
                    family.add_metric((*one.labels, name), int(count), total)
        return family

    def _of_figures(self, pairs: Sequence[tuple[TargetMetrics, Mapping[str, Any]]]) -> Iterator[Metric]:
        """The figures of the present run: the direction of its losses, and the clocks."""
        lost = GaugeMetricFamily(
            "echoctl_ping_direction_lost_probes", "Lost probes of this run.", labels=(*TARGET, "direction")
        )
        offset = GaugeMetricFamily("echoctl_ping_clock_offset_seconds", "The reflector's clock − ours.", labels=TARGET)
        doubt = GaugeMetricFamily("echoctl_ping_clock_uncertainty_seconds", "Uncertainty of the offset.", labels=TARGET)
        for one, figures in pairs:
            for name in ("forward", "backward"):
                if figures[name] is not None and figures[name]["lost"] is not None:
                    lost.add_metric((*one.labels, name), figures[name]["lost"])
            if figures["clock"] is not None:
                offset.add_metric(one.labels, figures["clock"]["offset_ms"] / 1000)
                doubt.add_metric(one.labels, figures["clock"]["uncertainty_ms"] / 1000)
        yield from (lost, offset, doubt)
