"""The measurements of one target of a ping: takes the outcome of each probe, and returns figures and lines of text."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, Final

from echod.client.loss_pattern import LossPattern, Outage
from echod.client.path_figures import (
    direction_figures,
    histogram,
    loss_figures,
    more_lines,
    pacing_figures,
    percentile_figures,
)
from echod.client.plots.plot_data import PlotData
from echod.client.probe_ledger import ProbeLedger, ProbeResult, ReplyClass
from echod.client.size_sweep import SizeSweep
from echod.client.stamp_session import StampSession
from echod.client.statistics import Times
from echod.client.summary import figures, lines
from echod.client.summary_head import given_options, head, histogram_figures
from echod.client.time_series import TimeSeries
from echod.measurement.clock_quality import clock_quality

FINE: Final = 0.001  #: seconds: the first width of the intervals of a plot
OPTIONS: Final = (
    *("count", "deadline", "poisson", "adaptive", "flood", "df", "interface", "dscp", "ttl", "source"),
    *("flows", "token", "proxy", "ping_frames", "exit_on_refusal", "insecure", "server_name"),
)
"""The options that a summary names. Those with keys of their own, and what a peer must not learn, are left out."""


class PingMeasurements:
    """The outcomes of all probes to one target. `outage` is called when an outage has ended."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        outage: Callable[[Outage], None],
        clock: Callable[[], float],
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._arguments = arguments
        self._outage = outage
        self._clock = clock
        self._wall_clock = wall_clock
        self.account = ProbeLedger(arguments.timeout)
        self.account.settled_in_order = self._settle
        self.times = Times()
        self.lateness = Times()
        self.seconds = TimeSeries()
        self.plotted = TimeSeries(FINE) if arguments.plot is not None else None
        self.error: str | None = None  #: what ended the ping early
        self._pattern = LossPattern()
        self._sweep = SizeSweep(arguments.sizes) if arguments.sizes is not None and len(arguments.sizes) > 1 else None
        split = arguments.connect and arguments.url.form.layers
        self._parts = {"tcp": Times(), "tls": Times()} if split else {}  # as in ProbeResult.parts
        self._started = 0.0
        self._duration = 0.0
        self.begin()

    def begin(self) -> None:
        """The first probe is due."""
        self._begun = self._clock()
        self._started = self._wall_clock() / 1e9

    def record(self, finding: ProbeResult) -> None:
        """A reply was received."""
        if finding.kind not in (ReplyClass.RECEIVED, ReplyClass.REORDERED) or finding.seconds is None:
            return
        self.times.add(finding.seconds)
        for times, seconds in zip(self._parts.values(), finding.parts or (), strict=False):
            times.add(seconds)
        if self._sweep is not None:
            self._sweep.received(finding.size, finding.seconds)
        sent_at = self._clock() - self._begun - finding.seconds
        self.seconds.received(sent_at, finding.seconds)
        if self.plotted is not None:
            self.plotted.received(sent_at, finding.seconds)

    def finish(self) -> None:
        """The last outcome is recorded."""
        self._duration = self._clock() - self._begun
        self._pattern.finish()

    def _settle(self, number: int, received: bool, sent_at: float) -> None:
        """A probe is received or lost, and so is each one before it."""
        if received:
            if (outage := self._pattern.received(sent_at)) is not None:
                self._outage(outage)
            return
        self._pattern.lost(number, sent_at)
        if self._sweep is not None:
            self._sweep.lost(number)
        self.seconds.lost(sent_at - self._begun)
        if self.plotted is not None:
            self.plotted.lost(sent_at - self._begun)

    def figures(self, awaited: int, stamps: StampSession | None) -> dict[str, Any]:
        """All figures by name. `awaited` probes can still get a reply; `stamps` is the session of STAMP packets."""
        found = figures(self.account, self.times, awaited, self._parts)
        found |= percentile_figures(self.times)
        found |= loss_figures(self._pattern, found["lost"], found["lost"] + found["received"])
        found |= pacing_figures(self.lateness)
        found |= direction_figures(stamps, self.account.sent, clock_quality())
        return found | ({} if self._sweep is None else {"sizes": self._sweep.figures()})

    def summary(self, found: dict[str, Any], remote: str | None, local: str | None) -> dict[str, Any]:
        """The summary object: the head, the parameters, the figures `found`, the histogram and the seconds."""
        arguments = self._arguments
        options = given_options(arguments, OPTIONS)
        url = str(arguments.url)
        opening = head("echoctl ping", url, remote, self._started, self._duration, options, self.error)
        parameters = {
            "local": local,
            "connect": arguments.connect,
            "size_bytes": None if arguments.connect else arguments.size,
            "interval_ms": round(arguments.interval * 1000, 6),
            "timeout_ms": round(arguments.timeout * 1000, 6),
            "exact": self.times.exact,
        }
        shape = {"histogram": histogram_figures(self.times.histogram()), "series": self.seconds.figures()}
        return opening | parameters | found | shape

    def lines(self, found: dict[str, Any]) -> list[str]:
        """The figures as lines of text."""
        said = lines(found, connecting=self._arguments.connect)
        said += more_lines(found, verbose=self._arguments.verbose)
        return said + ([] if self._sweep is None else self._sweep.lines())

    def plot_data(self, title: str, found: dict[str, Any]) -> PlotData | None:
        """The content of the plot, if one was requested."""
        if self.plotted is None:
            return None
        summary = lines(found, connecting=self._arguments.connect)
        return PlotData(title, summary, self.plotted, self.times.histogram())

    def bars(self) -> list[str]:
        """The histogram as lines of text, if it was requested."""
        return histogram(self.times) if self._arguments.histogram else []
