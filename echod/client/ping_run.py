"""One target of a ping: sends probes on a schedule, takes the results, and prints the figures.

Each probe is sent when it is due, even if earlier probes have no reply yet. So a late reply does not delay the next
probe, and does not hide its latency (coordinated omission).
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable
from typing import Any, Final

from echod.address import Address
from echod.client.client_connection import Failed
from echod.client.connect_probe import Connections
from echod.client.histogram import percentile_text
from echod.client.ping_measurements import PingMeasurements
from echod.client.ping_output import Silent
from echod.client.probe_context import ProbeContext
from echod.client.probe_ledger import ProbeResult
from echod.client.schedule import Schedule
from echod.client.session_probe import Conversing
from echod.client.stdout import INTERRUPTED, fail
from echod.client.timers import timer
from echod.client.value_types import MOST_PROBES
from echod.config.units import duration_text
from echod.escaping import counted, escaped, system_error

TICK: Final = 0.001  #: seconds: the resolution of the reactor's timers


class PingRun:
    """Sends probes until COUNT or the deadline is reached, the user interrupts, or the connection ends.

    `finish` is called once, with the exit code of this target. `title` names it in the summary.
    """

    def __init__(
        self,
        reactor: Any,
        arguments: argparse.Namespace,
        output: Silent,
        finish: Callable[[int], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reactor = reactor
        self._arguments = arguments
        self._output = output
        self._finish = finish
        self._clock = clock
        self._address: Address = arguments.url
        self._label = escaped(self._address.label)
        self._count: int = arguments.count or MOST_PROBES
        self._measured = PingMeasurements(arguments, output.outage, clock)
        self._account = self._measured.account
        self._schedule: Schedule | None = None
        self._done = False
        self._awaited = 0
        self._losing: Any = None  # the timer that checks for lost probes
        self._is_opening = True  # name lookup and connecting are not complete
        if arguments.deadline is not None:
            reactor.callLater(arguments.deadline, self._after_reading, self._deadline)
        kind = Connections if arguments.connect else Conversing
        self._way: Connections | Conversing = kind(
            ProbeContext(
                reactor, arguments, self._account, clock, self._opened, self._on_result, self._over, self._refused
            )
        )
        if arguments.opening is not None:  # its time starts after the imports of TLS and of layers, which are slow
            reactor.callLater(0, reactor.callLater, arguments.opening, self._after_reading, self._not_opened)

    @property
    def label(self) -> str:
        """The name of the target."""
        return self._label

    @property
    def failed(self) -> str | None:
        """The error that ended it early, or None."""
        return self._measured.error

    def interrupted(self) -> None:
        """Print the summary. Probes that can still get a reply count as awaited, not as lost."""
        now = self._clock()
        self._report_lost(now)
        self._end(awaited=self._account.awaited(now), code=INTERRUPTED)

    def close(self) -> None:
        """Close the connection of a run that has ended. Call it if the program continues."""
        self._way.close()

    def summary(self) -> list[str]:
        """The lines of the summary so far."""
        return self._measured.lines(self.figures_so_far())

    def figures_so_far(self) -> dict[str, Any]:
        """All figures by name, while it runs."""
        return self.figures(None if self._done else self._account.awaited(self._clock()))

    def figures(self, awaited: int | None = None) -> dict[str, Any]:
        """All figures by name."""
        stamps = None if isinstance(self._way, Connections) else self._way.stamps
        return self._measured.figures(self._awaited if awaited is None else awaited, stamps)

    def facts(self) -> dict[str, Any]:
        """The summary object."""
        return self._measured.summary(self.figures(), self._remote if self._account.received else None, self._local)

    @property
    def _local(self) -> str | None:
        local = None if isinstance(self._way, Connections) else self._way.local
        return None if local is None else escaped(str(local))

    def _opened(self) -> None:
        self._is_opening = False
        self._reactor.callLater(0, self._start)

    def _not_opened(self) -> None:
        if self._is_opening:
            waited = duration_text(self._arguments.opening)
            self._over(Failed(f"{self._label}: no reply within {waited} (ETIMEDOUT)"))

    def _start(self) -> None:
        if self._done:
            return
        arguments = self._arguments
        what = "a connection" if arguments.connect else self._sizes
        self._output.started(self._label, what, arguments.interval)
        chance = random.Random() if arguments.poisson else None
        self._schedule = Schedule(
            timer(self._reactor),
            self._clock,
            arguments.interval,
            self._ask,
            chance=chance,
            lateness=self._measured.lateness.add,
        )
        self._measured.begin()
        self._schedule.start()

    @property
    def _sizes(self) -> str:
        sizes = self._arguments.sizes
        if sizes is None or len(sizes) == 1:
            return counted(self._arguments.size, "byte", "bytes")
        return f"{sizes[0]} to {sizes[-1]} bytes"

    def _ask(self) -> None:
        if self._arguments.outstanding and self._account.is_awaited(self._account.sent):
            self._output.outstanding(self._account.sent)
        self._way.ask()
        if self._done:
            return
        if self._losing is None:
            self._lose_later()
        if self._account.sent >= self._count and self._schedule is not None:
            self._schedule.stop()
            self._reactor.callLater(self._account.patience, self._after_reading, self._end)

    def _on_result(self, finding: ProbeResult) -> None:
        if self._done:
            return
        self._measured.record(finding)
        self._output.reply(finding, self._remote, connecting=self._arguments.connect)
        self._end_if_settled()
        if (self._arguments.adaptive or self._arguments.flood) and finding.number == self._account.sent:
            self._hurry()

    def _hurry(self) -> None:
        """Send the next probe now, because the last one has its reply."""
        if not self._done and self._schedule is not None and self._account.sent < self._count:
            self._schedule.hurry()

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
            self._output.lost(number, system_error(error), self._remote)
            self._end_if_settled()

    def _lose_later(self) -> None:
        """Start a timer for the time at which the next probe can be lost."""
        due = self._account.next_due()
        self._losing = None
        if due is not None:
            self._losing = self._reactor.callLater(max(0.0, due - self._clock()) + TICK, self._lose)

    def _lose(self) -> None:
        self._after_reading(self._report_lost_ones)

    def _report_lost_ones(self) -> None:
        if not self._done:
            self._report_lost(self._clock())
            self._lose_later()

    def _after_reading(self, call: Callable[[], None]) -> None:
        """Call after one turn of the reactor, which reads the replies that the kernel has.

        If this process was stopped, its timers and replies are late together. The timers are called first.
        """
        self._reactor.callLater(0, call)

    def _report_lost(self, now: float, error: str = "") -> None:
        """Report each probe that is lost by now. `error` is its reason if an error message has told it."""
        why = error or f"no reply within {duration_text(self._account.patience)}"
        for number in self._account.overdue(now):
            self._output.lost(number, why, self._remote, told=bool(error))

    def _end_if_settled(self) -> None:
        if self._account.sent >= self._count and self._account.settled(self._clock()):
            self._end()

    def _deadline(self) -> None:
        if not self._done and not self._account.sent:
            waited = duration_text(self._arguments.deadline)
            self._over(Failed(f"{self._label}: no reply within {waited} (ETIMEDOUT)"))
        elif not self._done:
            now = self._clock()
            self._report_lost(now)
            self._end(awaited=self._account.awaited(now))

    def _over(self, failed: Failed | None) -> None:
        if not self._done:
            failed = failed or Failed(f"{self._label}: the peer closed the connection")
            self._output.ended()
            fail(str(failed))
            self._end(failed)

    def _end(self, failed: Failed | None = None, awaited: int = 0, code: int | None = None) -> None:
        """Print the summary and finish, once."""
        if self._done:
            return
        self._done = True
        self._measured.error = None if failed is None else str(failed)
        if not awaited and code != INTERRUPTED:
            self._report_lost(math.inf, "" if failed is None else str(failed).removeprefix(f"{self._label}: "))
        self._awaited = awaited
        self._measured.finish()
        self._output.ended()
        if self._schedule is not None:
            self._schedule.stop()
        found = self.figures()
        if self._account.sent or not failed:
            bad = bool(found["lost"] or found["wrong"])
            self._output.summary(self._title, [*self._measured.lines(found), *self._measured.bars()], bad=bad)
        self._output.facts(self.facts())
        written = self._write_files(found)
        wrong = not written or failed or self._account.wrong or not self._account.received
        self._finish(int(bool(wrong)) if code is None else code)

    @property
    def _title(self) -> str:
        if self._arguments.flows is None or self._local is None:
            return self._label
        return f"{self._label} from {self._local}"

    def _write_files(self, found: dict[str, Any]) -> bool:
        """Write the files that were requested. Returns False if one of them cannot be written."""
        written = True
        if self._arguments.percentiles is not None:
            written = self._arguments.percentiles.write(percentile_text(self._measured.times.histogram()).encode())
        data = self._measured.plot_data(self._label, found)
        return (data is None or self._arguments.picture.write(data)) and written

    @property
    def _remote(self) -> str:
        """The peer's address. For a Unix socket it is the URL's path: the kernel reports that of bind(2)."""
        return escaped(self._address.path if self._address.has_path else str(self._way.remote))
