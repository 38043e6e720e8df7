"""`echoctl ping`: sends probes on a fixed schedule, verifies each reply, and prints statistics.

Each probe is sent when it is due, even if earlier probes have no reply yet. So a late reply does not delay the next
probe, and does not hide its latency (coordinated omission).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable
from typing import IO, Any, Final

from echod.address import Address
from echod.client.client_connection import Failed
from echod.client.connect_probe import Connections
from echod.client.probe_context import ProbeContext
from echod.client.probe_ledger import ProbeLedger, ProbeResult, ReplyClass
from echod.client.schedule import Schedule
from echod.client.session_probe import Conversing
from echod.client.statistics import Times
from echod.client.stdout import INTERRUPTED, Screen, colored, fail, put_text
from echod.client.summary import figures, lines
from echod.client.svg_plot import Plot
from echod.client.value_types import MOST_PROBES
from echod.config.units import duration_text
from echod.escaping import counted, escaped, system_error
from echod.stdio import report

TICK: Final = 0.001  #: seconds: the resolution of the reactor's timers

NOTES: Final = {
    ReplyClass.RECEIVED: "",
    ReplyClass.REORDERED: " (reordered)",
    ReplyClass.DUPLICATED: " (duplicate)",
    ReplyClass.LATE: " (late)",
}


RED, YELLOW, PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"
COLORS: Final = {
    ReplyClass.WRONG: RED,
    ReplyClass.LATE: YELLOW,
    ReplyClass.DUPLICATED: YELLOW,
    ReplyClass.REORDERED: YELLOW,
}


class Ping:
    """Sends probes until COUNT is reached, the user interrupts, or the connection ends."""

    def __init__(
        self,
        reactor: Any,
        arguments: argparse.Namespace,
        finish: Callable[[int], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reactor = reactor
        self._arguments = arguments
        self._finish = finish
        self._clock = clock
        self._address: Address = arguments.url
        self._label = escaped(self._address.label)
        self._count: int = arguments.count or MOST_PROBES
        self._screen = Screen()
        self._account = ProbeLedger(arguments.timeout)
        self._times = Times()
        split = arguments.connect and self._address.form.layers
        self._parts = {"tcp": Times(), "tls": Times()} if split else {}  # as in ProbeResult.parts
        self._plot = Plot()
        self._colored = colored(arguments.color)
        self._schedule: Schedule | None = None
        self._begun = clock()
        self._done = False
        self._losing: Any = None  # the timer that checks for lost probes
        self._picture: IO[str] | None = None
        if arguments.plot is not None:
            try:
                self._picture = open(arguments.plot, "w", encoding="utf-8")  # noqa: SIM115 - it is written at the end
            except OSError as error:  # before the first probe, not after hours of probes
                self._done = True
                fail(f"{escaped(arguments.plot)}: {system_error(error)}")
                finish(1)
                return
        self._opening: Any = None  # the timer for name lookup and connecting
        if arguments.opening is not None:
            self._opening = reactor.callLater(arguments.opening, self._not_opened)
        kind = Connections if arguments.connect else Conversing
        self._way: Connections | Conversing = kind(
            ProbeContext(
                reactor, arguments, self._account, clock, self._opened, self._on_result, self._over, self._refused
            )
        )

    def interrupted(self) -> int:
        """Print the summary. Probes that can still get a reply count as awaited, not as lost."""
        now = self._clock()
        self._report_lost(now)
        self._end(awaited=self._account.awaited(now), code=INTERRUPTED)
        return INTERRUPTED

    def report(self) -> None:
        """Print the summary so far on standard error, and continue."""
        now = self._clock()
        found = figures(self._account, self._times, self._account.awaited(now), self._parts)
        for line in lines(found, connecting=self._arguments.connect):
            report(line)

    def _opened(self) -> None:
        if self._opening is not None and self._opening.active():
            self._opening.cancel()
        self._reactor.callLater(0, self._start)

    def _not_opened(self) -> None:
        waited = duration_text(self._arguments.opening)
        self._over(Failed(f"{self._label}: no reply within {waited} (ETIMEDOUT)"))

    def _start(self) -> None:
        if self._done:
            return
        arguments = self._arguments
        what = "a connection" if arguments.connect else counted(arguments.size, "byte", "bytes")
        self._print_line(f"{self._label}: {what} every {duration_text(arguments.interval)}")
        self._schedule = Schedule(self._reactor, self._clock, arguments.interval, self._ask)
        self._begun = self._clock()
        self._schedule.start()

    def _ask(self) -> None:
        self._way.ask()
        if self._done:
            return
        if self._losing is None:
            self._lose_later()
        if self._account.sent >= self._count and self._schedule is not None:
            self._schedule.stop()
            self._reactor.callLater(self._account.patience, self._end)

    def _on_result(self, finding: ProbeResult) -> None:
        if self._done:
            return
        if finding.kind in (ReplyClass.RECEIVED, ReplyClass.REORDERED) and finding.seconds is not None:
            self._times.add(finding.seconds)
            for times, seconds in zip(self._parts.values(), finding.parts or (), strict=False):
                times.add(seconds)
            if self._picture is not None and finding.number is not None:
                self._plot.add(finding.number, finding.seconds)
        self._print_line(self._line(finding), COLORS.get(finding.kind, ""))
        self._end_if_settled()

    def _refused(self, number: int | None, error: OSError) -> None:
        """The peer or the network refused a probe. It is lost; the next one may get a reply."""
        if self._done:
            return
        if self._arguments.exit_on_refusal:
            self._over(Failed(f"{self._label}: {system_error(error)}"))
            return
        now = self._clock()
        self._report_lost(now)
        number = self._account.oldest(now) if number is None else number
        if number is not None and self._account.lose(number):
            self._print_line(self._lost_line(number, system_error(error)), RED)
            self._end_if_settled()

    def _lose_later(self) -> None:
        """Start a timer for the time at which the next probe can be lost."""
        due = self._account.next_due()
        self._losing = None
        if due is not None:
            self._losing = self._reactor.callLater(max(0.0, due - self._clock()) + TICK, self._lose)

    def _lose(self) -> None:
        if not self._done:
            self._report_lost(self._clock())
            self._lose_later()

    def _report_lost(self, now: float, why: str = "") -> None:
        why = why or f"no reply within {duration_text(self._account.patience)}"
        for number in self._account.overdue(now):
            self._print_line(self._lost_line(number, why), RED)

    def _lost_line(self, number: int, why: str) -> str:
        return f"no reply from {self._remote}: seq={number} lost: {why}"

    def _end_if_settled(self) -> None:
        if self._account.sent >= self._count and self._account.settled(self._clock()):
            self._end()

    def _over(self, failed: Failed | None) -> None:
        if not self._done:
            failed = failed or Failed(f"{self._label}: the peer closed the connection")
            fail(str(failed))
            self._end(failed)

    def _end(self, failed: Failed | None = None, awaited: int = 0, code: int | None = None) -> None:
        """Print the summary and finish, once."""
        if self._done:
            return
        self._done = True
        seconds = self._clock() - self._begun
        if code != INTERRUPTED:
            self._report_lost(math.inf, "" if failed is None else str(failed).removeprefix(f"{self._label}: "))
        if self._schedule is not None:
            self._schedule.stop()
        found = figures(self._account, self._times, awaited, self._parts)
        if self._arguments.json:
            self._print(json.dumps(self._facts(failed, seconds) | found))
        elif self._account.sent or not failed:
            self._print_line("")
            counts, *times = lines(found, connecting=self._arguments.connect)
            self._print(f"--- {self._label} ---")
            self._print(counts, RED if found["lost"] or found["wrong"] else "")
            for line in times:
                self._print(line)
        drawn = self._draw(lines(found, connecting=self._arguments.connect))
        wrong = not drawn or failed or self._account.wrong or not self._account.received
        self._finish(int(bool(wrong)) if code is None else code)

    def _draw(self, summary: Iterable[str]) -> bool:
        """Write the plot if one was requested. Returns False if it cannot be written."""
        if self._picture is None:
            return True
        try:
            with self._picture as file:
                file.write(self._plot.svg(self._label, "\n".join(summary)))
        except OSError as error:
            fail(f"{escaped(self._arguments.plot)}: {system_error(error)}")
            return False
        return True

    def _facts(self, failed: Failed | None, seconds: float) -> dict[str, Any]:
        arguments = self._arguments
        return {
            "url": str(self._address),
            "connect": arguments.connect,
            "size_octets": None if arguments.connect else arguments.size,
            "interval_ms": round(arguments.interval * 1000, 6),
            "timeout_ms": round(arguments.timeout * 1000, 6),
            "duration_ms": round(seconds * 1000, 3),
            "error": None if failed is None else str(failed),
            "exact": self._times.exact,
        }

    @property
    def _remote(self) -> str:
        """The peer's address. For a Unix socket it is the URL's path: the kernel reports that of bind(2)."""
        return escaped(self._address.path if self._address.has_path else str(self._way.remote))

    def _line(self, finding: ProbeResult) -> str:
        remote = self._remote
        size = counted(finding.size, "byte", "bytes")
        text = f"connected to {remote}:" if self._arguments.connect else f"{size} from {remote}:"
        if finding.number is not None:
            text += f" seq={finding.number}"
        if finding.kind is ReplyClass.WRONG:
            return f"{text} wrong: {finding.error}"
        if finding.seconds is not None:
            text += f" time={finding.seconds * 1000:.3f} ms"
        if finding.parts is not None:
            connecting, handshake = finding.parts
            text += f" tcp={connecting * 1000:.3f} ms tls={handshake * 1000:.3f} ms"
        return text + NOTES[finding.kind]

    def _print_line(self, line: str, color: str = "") -> None:
        if not (self._arguments.quiet or self._arguments.json):
            self._print(line, color)

    def _print(self, line: str, color: str = "") -> None:
        if color and self._colored:
            put_text(f"{color}{escaped(line)}{PLAIN}\n")
        else:
            self._screen.write(f"{line}\n".encode())


COMMAND = Ping
