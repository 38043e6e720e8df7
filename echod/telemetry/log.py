"""The log: one line for each event and each diagnostic, in our format, and the output of services.

It is both the log observer of twistd and a sink of echod's events. Lines that peers can cause repeatedly are limited
by class. Suppressed lines are counted, and their number is logged after ten seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from echod.escaping import clipped, counted, escaped
from echod.event_catalogue import CATALOGUE, MOST, MOST_DEBUG
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.event_record import message, rate_class, record, timestamp
from echod.telemetry.journal import entry, prefixed
from echod.telemetry.line_rate_limit import LineRateLimit
from echod.telemetry.start_and_stop_summary import Opened, stopped

Format = Literal["auto", "text", "json", "journal"]  #: the values of `log-format`

LEVELS: Final[Mapping[str, int]] = {"debug": 0, "info": 1, "warn": 2, "error": 3, "critical": 4}

BUG_EVERY: Final = 60.0  #: minimum seconds between two tracebacks of one place in the code
HELD_FOR: Final = 10.0  #: seconds until the number of suppressed lines is logged
DIAGNOSTIC: Final = 1_024  #: maximum characters of a diagnostic, without its error


@implementer(ILogObserver)
class Log:
    """Writes lines of at least `level` to `output`: as text, as one JSON object a line, or as journal entries.

    `auto` is `journal` if the output is connected to the journal, as `environ` shows, and `text` otherwise.
    `clock` is monotonic, in seconds. `later(seconds, call, …)` calls after a delay (reactor.callLater).
    """

    def __init__(
        self,
        output: BackgroundWriter,
        form: Format = "text",
        level: str = "info",
        environ: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[..., Any],
    ) -> None:
        self.output = output
        self.internal_errors = 0  #: unhandled exceptions: bugs of echod or of a service
        self.suppressed = 0  #: lines that the rate limit suppressed
        self._environ = environ or {}
        self._later = later
        self._rate_limit = LineRateLimit(clock)
        self._opened = Opened()
        self._will_report: set[float] = set()  # windows of classes, in seconds
        self.reconfigure(form, level)

    def reconfigure(self, form: Format, level: str) -> None:
        """Change the form and the lowest level, at the start and at a reload."""
        if form == "auto":
            form = "journal" if self.output.is_journal(self._environ) else "text"
        self._form = form
        self._prefixed = form == "journal" and not self.output.journal.there
        self._for_people = form == "text" and self.output.is_terminal
        self._lowest = LEVELS[level]

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """Log one event of echod. Subscribe this method to the events."""
        level = CATALOGUE[name].severity
        if LEVELS[level] < self._lowest or not self.admits(name, fields):
            return
        if self._for_people and (lines := self._opened.lines(name, fields)) is not None:
            for line in lines:
                self._write(level, line, {})
            return
        brief = name == "daemon.stopped" and (self._for_people or (self._form == "journal" and not self._prefixed))
        text = stopped(fields["counters"]) if brief else message(name, fields)
        self._write(level, text, {"event": name, **fields})

    def admits(self, name: str, fields: Mapping[str, Any]) -> bool:
        """Whether the rate of an event allows another line now. If not, it is counted and reported later."""
        rate = CATALOGUE[name].rate
        return rate is None or self._passes(rate_class(name, fields), rate.most, rate.seconds)

    def say(self, level: str, text: str) -> None:
        """Log a line of the daemon itself, without a rate limit."""
        if LEVELS[level] >= self._lowest:
            self._write(level, text, {})

    def relay(self, level: str, text: str, fields: Mapping[str, Any]) -> None:
        """Log a line of a worker process, with the rate limit of its text."""
        if LEVELS[level] >= self._lowest and self._passes(clipped(text), _most(level)):
            self._write(level, text, fields)

    def show(self, line: str) -> int:
        """Write a line that a service prints, if standard output is not used. Ignores `level`. Returns its bytes."""
        return self._write("info", line, {"shown": True})

    def __call__(self, event: LogEvent) -> None:
        """Log a diagnostic of Twisted's logger: of echod from `info` on, of other packages from `warn` on."""
        failure = event.get("log_failure")
        self.internal_errors += failure is not None
        level: LogLevel = event.get("log_level", LogLevel.info)
        importance = LEVELS[level.name]
        ours = str(event.get("log_namespace", "")).startswith("echod.")
        if importance < self._lowest or (not ours and importance < LEVELS["warn"]):
            return
        text = clipped(formatEvent(event), DIAGNOSTIC)
        if failure is not None:
            where = _where(failure)
            error = f"{failure.type.__name__}: {clipped(failure.getErrorMessage())}"
            if self._passes(f"{failure.type.__name__}{where}", 1, BUG_EVERY, HELD_FOR):
                self._write(level.name, f"{text}: {error}{where}", {})
        elif self._passes(f"{event.get('log_namespace')}: {event.get('log_format')}", _most(level.name)):
            self._write(level.name, text, {})

    def figures(self) -> dict[str, int]:
        """The counters of the log itself that are not 0."""
        counts = {"internal_errors": self.internal_errors, "lines_suppressed": self.suppressed}
        return {name: count for name, count in counts.items() if count}

    def report_suppressed(self, after: float | None = None) -> None:
        """Log the number of suppressed lines: of the classes reported `after` so many seconds, or of all."""
        self._will_report.discard(after or 0.0)
        for what, lines in self._rate_limit.take(after).items():
            more = counted(lines, "more line was", "more lines were")
            self._write("warn", f"{more} not written: {clipped(what)}", {"suppressed": lines})

    def _passes(self, what: str, most: int, seconds: float = 1.0, report_after: float | None = None) -> bool:
        """Whether a line of this class may be written now. If not, it is counted and reported later."""
        report_after = max(HELD_FOR, seconds) if report_after is None else report_after
        if self._rate_limit.passes(what, most, seconds, report_after):
            return True
        self.suppressed += 1
        in_reactor = threading.current_thread() is threading.main_thread()  # only this thread may set timers
        if report_after not in self._will_report and in_reactor:
            self._will_report.add(report_after)
            self._later(report_after, self.report_suppressed, report_after)
        return False

    def _write(self, level: str, text: str, fields: Mapping[str, Any]) -> int:
        if self._prefixed:
            return self.output.line(prefixed(level, text))
        if self._form == "journal":
            return self.output.entry(entry(level, text, fields))
        if self._form == "json":
            return self.output.line(record(level, text, fields))
        return self.output.line(f"{timestamp()} {level:5} {escaped(text)}")


def _most(level: str) -> int:
    """Lines of one diagnostic a second."""
    return MOST_DEBUG if level == "debug" else MOST


def _where(failure: Any) -> str:
    """The innermost four frames of a traceback, on one line."""
    frames = [f"{name} ({path.rpartition('/')[2]}:{line})" for name, path, line, *_ in failure.frames]
    return " in " + ", ".join(frames[-4:]) if frames else ""
