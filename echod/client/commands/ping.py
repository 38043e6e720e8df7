"""`echoctl ping`: measures one target or several at once, and prints statistics."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from echod.client import monitoring, output_options
from echod.client.auth_key import read_auth_key
from echod.client.mtu_search import MtuSearch
from echod.client.ping_options import SEARCH
from echod.client.ping_output import COLUMNS, Silent, output
from echod.client.ping_run import PingRun
from echod.client.plots.plot_output import open_plot
from echod.client.record_lines import csv_line
from echod.client.result_files import open_result
from echod.client.stdout import INTERRUPTED, fail, put_text
from echod.client.summary_head import SCHEMA
from echod.stdio import report

if TYPE_CHECKING:
    from echod.client.ping_exporter import PingExporter


class Ping:
    """Runs all targets, and finishes when the last one has ended. The exit code is the highest of all."""

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        self._arguments = arguments
        self._finish = finish
        self._codes: list[int] = []
        self._code = INTERRUPTED  # of the whole ping; known when all targets have ended
        self._runs: list[PingRun | MtuSearch] = []
        if wrong := output_options.live_error(arguments):
            fail(wrong)
            finish(1)
            return
        if not self._open_files():
            finish(monitoring.UNKNOWN if self._monitors else 1)
            return
        if arguments.csv:
            put_text(csv_line(COLUMNS))
        for target in arguments.targets:
            target.picture, target.percentiles = arguments.picture, arguments.percentiles
            target.hmac_key = arguments.hmac_key
            if arguments.df == SEARCH:
                self._runs.append(MtuSearch(reactor, target, self._ended))
            else:
                self._runs.append(PingRun(reactor, target, self._output(reactor, target), self._ended))

    @property
    def _monitors(self) -> bool:
        return self._arguments.warn is not None or self._arguments.critical is not None

    def interrupted(self) -> int:
        """Print the summaries. Probes that can still get a reply count as awaited, not as lost."""
        for run in self._runs:
            run.interrupted()
        return self._code

    def report(self) -> None:
        """Print the summaries so far on standard error, and continue. A live display shows them anyway."""
        if self._arguments.live:
            return
        for run in self._runs:
            if len(self._runs) > 1:
                report(f"--- {run.label} ---")
            for line in run.summary():
                report(line)

    def _output(self, reactor: Any, target: argparse.Namespace) -> Silent:
        if not target.live:
            return output(target)
        from echod.client.live_output import LiveOutput  # slow to import

        return LiveOutput(target, reactor)

    def _open_files(self) -> bool:
        """Open the files of options before the first probe, not after hours of probes."""
        arguments = self._arguments
        try:
            arguments.picture = open_plot(arguments.plot, arguments.color)
            arguments.percentiles = open_result(arguments.hgrm)
        except OSError:
            return False
        return read_auth_key(arguments)

    def _ended(self, code: int) -> None:
        """One target has ended."""
        self._codes.append(code)
        if len(self._codes) < len(self._arguments.targets):
            return
        if self._arguments.json:
            found = [run.facts() for run in self._runs]
            put_text(json.dumps(found[0] if len(found) == 1 else {"$schema": SCHEMA, "targets": found}) + "\n")
        self._code = self._state() if self._monitors else max(self._codes)
        self._finish(self._code)

    def _state(self) -> int:
        """Print a line for each target. Returns the worst state."""
        warn, critical = self._arguments.warn, self._arguments.critical
        codes = []
        for run in self._runs:
            if isinstance(run, MtuSearch):
                continue
            found = run.figures()
            codes.append(code := monitoring.state_of(found, warn, critical))
            if not (self._arguments.json or self._arguments.json_lines or self._arguments.csv):
                put_text(monitoring.line(run.label, found, code, warn, critical, run.failed) + "\n")
        return max(codes)


def command(reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> Ping | PingExporter:
    """Start the ping, or its exporter."""
    if arguments.serve is None:
        return Ping(reactor, arguments, finish)
    from echod.client import ping_exporter  # this imports HTTP, which a ping does not need

    return ping_exporter.PingExporter(reactor, arguments, finish)


COMMAND = command
