"""`echoctl ping --serve`: measures its targets without end, and serves the metrics to Prometheus."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from echod.client.auth_key import read_auth_key
from echod.client.exporter import serve_metrics
from echod.client.ping_metrics import PingCollector, TargetMetrics
from echod.client.ping_output import COLUMNS, output
from echod.client.ping_run import PingRun
from echod.client.record_lines import csv_line
from echod.client.stdout import fail, put_text
from echod.escaping import system_error
from echod.stdio import report

SHORTEST_PAUSE: Final = 1.0  #: seconds before a target that ended early is measured again; they double …
LONGEST_PAUSE: Final = 30.0  #: … up to this


class PingExporter:
    """Measures all targets until it is interrupted. A target that ends early is measured again after a pause."""

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        self._reactor = reactor
        self._targets: list[argparse.Namespace] = arguments.targets
        self._interrupted = False
        if not read_auth_key(arguments):
            finish(1)
            return
        arguments.quiet = arguments.quiet or not arguments.verbose
        flows: Counter[str] = Counter()
        self._metrics: list[TargetMetrics] = []
        for target in self._targets:
            target.picture = target.percentiles = None
            target.hmac_key, target.quiet = arguments.hmac_key, arguments.quiet
            flows[target.url.label] += 1
            self._metrics.append(TargetMetrics(target.url.label, flows[target.url.label], output(target)))
        self._pauses = [SHORTEST_PAUSE] * len(self._targets)
        try:
            collector = PingCollector(self._metrics, self._figures)
            urls = serve_metrics(reactor, arguments.serve, collector, arguments.serve_host)
        except OSError as error:
            fail(f"--serve {arguments.serve.label}: {system_error(error)}")
            finish(1)
            return
        self._say = report if arguments.csv or arguments.json_lines else lambda line: put_text(f"{line}\n")
        for url in urls:
            self._say(f"metrics: {url}")
        if arguments.csv:
            put_text(csv_line(COLUMNS))
        self._runs = [self._run(at) for at in range(len(self._targets))]

    def interrupted(self) -> int:
        """Print the summaries. An exporter has ended as it should."""
        self._interrupted = True
        for run in self._runs:
            run.interrupted()
        return 0

    def report(self) -> None:
        """Print the summaries so far on standard error, and continue."""
        for run in self._runs:
            report(f"--- {run.label} ---")
            for line in run.summary():
                report(line)

    def _figures(self) -> list[Mapping[str, Any]]:
        return [run.figures_so_far() for run in self._runs]

    def _run(self, at: int) -> PingRun:
        return PingRun(self._reactor, self._targets[at], self._metrics[at], partial(self._ended, at))

    def _ended(self, at: int, _code: int) -> None:
        """A run has ended early."""
        if self._interrupted:
            return
        found = self._runs[at].figures_so_far()
        self._metrics[at].failed()
        pause = SHORTEST_PAUSE if found["received"] else self._pauses[at]
        self._pauses[at] = min(2 * pause, LONGEST_PAUSE)
        self._reactor.callLater(pause, self._restart, at)

    def _restart(self, at: int) -> None:
        if not self._interrupted:
            self._runs[at].close()
            self._metrics[at].earlier_sent += self._runs[at].figures_so_far()["sent"]
            self._runs[at] = self._run(at)
