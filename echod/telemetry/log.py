"""The log: one line for each event and each diagnostic, in our format, and the output of services.

It is both the log observer of twistd and a sink of echod's events. Lines that peers can cause repeatedly are limited
by class. Suppressed lines are counted, and their number is logged after ten seconds.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from echod.escaping import clipped, counted, escaped
from echod.telemetry.background_writer import BackgroundWriter
from echod.telemetry.journal import entry, prefixed
from echod.telemetry.line_rate_limit import LineRateLimit
from echod.telemetry.start_and_stop_summary import Opened, stopped

Format = Literal["auto", "text", "json", "journal"]  #: the values of `log-format`

LEVELS: Final[Mapping[str, int]] = {"debug": 0, "info": 1, "warn": 2, "error": 3, "critical": 4}

TEMPLATES: Final[Mapping[str, tuple[str, str]]] = {
    "listener.opened": ("info", "{service}  {address}"),
    "listener.awaited": ("warn", "{service}  {address} does not exist yet; retrying: {error}"),
    "listener.closed": ("debug", "{service}  {address} is no longer served"),
    "connection.opened": ("debug", "{service}  {address} from {peer}"),
    "connection.refused": ("debug", "{service}  {address} refused {peer}: {reason}"),
    "client.denied": (
        "info",
        "{service}  {address} denied {peer}; to allow it: --allow {host}, or the key allow",
    ),
    "proxy.denied": (
        "info",
        "{service}  {address} refused {peer}, which is not in proxy-from; if it is a proxy: add {host} to that key",
    ),
    "handshake.failed": ("info", "{service}  {address} handshake with {peer} failed: {error}"),
    "connection.closed": ("debug", "{service}  {address} from {peer} ended: {reason}, {bytes_in} in, {bytes_out} out"),
    "accept.paused": ("warn", "{service}  {address} accepts no connections for now: {error}"),
    "accept.resumed": ("info", "{service}  {address} accepts again; {refused} refused meanwhile"),
    "reading.paused": ("warn", "more than {limit} bytes of output are pending: slow readers are not read from"),
    "reading.resumed": ("info", "fewer than {limit} bytes of output are pending: all clients are read from again"),
    "certificate.loaded": (
        "info",
        "{services}: loaded the certificate {subject} of {source}, valid until {until}, {days:day|days} left",
    ),
    "certificate.expiring": (
        "warn",
        "{services}: the certificate {subject} of {source} is valid until {until}, {days:day|days} left: renew it",
    ),
    "fault.injected": ("debug", "{service}  fault {fault} injected, {count:time|times}"),
    "faults.changed": ("info", "{service}  faults are now: {faults} (changed by {by})"),
    "worker.started": ("info", "worker {worker} serves, process {pid}"),
    "worker.ended": ("error", "worker {worker}, process {pid}, has ended: {reason}"),
    "daemon.ready": ("info", "ready: {listeners:listener|listeners}"),
    "daemon.reloading": ("debug", "reading the configuration again, for {by}"),
    "daemon.reloaded": (
        "info",
        "reloaded: {opened:address|addresses} opened, {closed} closed, {changed:service|services} changed: {changes}",
    ),
    "daemon.refused": ("error", "not reloaded, the old configuration stays: {errors}"),
    "daemon.draining": ("info", "stopping: {connections:connection has|connections have} {seconds:g} s to end"),
    "log.incomplete": ("warn", "{lines:line|lines} could not be written, {events:event|events} not delivered"),
    "daemon.stopped": ("info", "stopped {counters}"),
}
"""The level and the text of each event of the catalogue (`echod.events`)."""

MOST: Final = 10  #: lines of one class a second: as many as an operator can read
MOST_DEBUG: Final = 1_000  #: the same at level debug, which logs every connection
EVERY: Final[Mapping[str, float]] = {
    "client.denied": 60.0,
    "proxy.denied": 60.0,
    "handshake.failed": 10.0,
    "reading.paused": 60.0,
    "reading.resumed": 60.0,
}
"""Minimum seconds between two of these events. Peers can cause them, and could fill the log with equal lines."""
BY_CAUSE: Final = frozenset({"handshake.failed"})
"""Events whose causes are classes of their own: a frequent one must not hide another."""
BUG_EVERY: Final = 60.0  #: minimum seconds between two tracebacks of one place in the code
HELD_FOR: Final = 10.0  #: seconds until the number of suppressed lines is logged
AS_MANY_AS_CONFIGURED: Final = ("listener.", "daemon.", "log.", "certificate.", "worker.")
"""Prefixes of events that peers cannot cause."""
_SIZE: Final = re.compile(r"\d+ bytes")
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
        level, template = TEMPLATES[name]
        if LEVELS[level] < self._lowest:
            return
        if not name.startswith(AS_MANY_AS_CONFIGURED):
            most, seconds = (1, EVERY[name]) if name in EVERY else (MOST, 1.0)
            what = f"{name}: {_cause(fields)}" if name in BY_CAUSE else name
            if not self._passes(what, level, most, seconds):
                return
        if self._for_people and (lines := self._opened.lines(name, fields)) is not None:
            for line in lines:
                self._write(level, line, {})
            return
        if name == "daemon.stopped" and (self._for_people or (self._form == "journal" and not self._prefixed)):
            self._write(level, stopped(fields["counters"]), {"event": name, **fields})
            return
        plain = {key: _plain(value) for key, value in fields.items()}
        if "proxy" in fields:
            plain["peer"] = f"{plain['peer']} (proxy {plain['proxy']})"
        self._write(level, template.format_map(plain), {"event": name, **fields})

    def say(self, level: str, text: str) -> None:
        """Log a line of the daemon itself, without a rate limit."""
        if LEVELS[level] >= self._lowest:
            self._write(level, text, {})

    def relay(self, level: str, text: str, fields: Mapping[str, Any]) -> None:
        """Log a line of a worker process, with the rate limit of its text."""
        if LEVELS[level] >= self._lowest and self._passes(clipped(text), level):
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
            if self._passes(f"{failure.type.__name__}{where}", level.name, 1, BUG_EVERY, HELD_FOR):
                self._write(level.name, f"{text}: {error}{where}", {})
        elif self._passes(f"{event.get('log_namespace')}: {event.get('log_format')}", level.name):
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

    def _passes(
        self, what: str, level: str, most: int = MOST, seconds: float = 1.0, report_after: float | None = None
    ) -> bool:
        """Whether a line of this class may be written now. If not, it is counted and reported later."""
        report_after = max(HELD_FOR, seconds) if report_after is None else report_after
        if self._rate_limit.passes(what, MOST_DEBUG if level == "debug" else most, seconds, report_after):
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
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._form == "json":
            record = {"time": now, "level": level, "message": escaped(text), **fields}
            return self.output.line(json.dumps(record, default=str))
        return self.output.line(f"{now} {level:5} {escaped(text)}")


class _Count(int):
    """A number that a template can format with its noun: `{n:line|lines}`."""

    def __format__(self, spec: str) -> str:
        one, bar, many = spec.partition("|")
        return counted(self, one, many) if bar else super().__format__(spec)


def _cause(fields: Mapping[str, Any]) -> str:
    """The part of an error that no peer can choose: the words before what it has sent, without sizes."""
    return _SIZE.sub("bytes", re.split("[:,]", str(fields.get("error", "")), maxsplit=1)[0])


def _plain(value: Any) -> Any:
    """A field in the form that templates use."""
    if isinstance(value, dict):
        return json.dumps(value)
    return _Count(value) if type(value) is int else value


def _where(failure: Any) -> str:
    """The innermost four frames of a traceback, on one line."""
    frames = [f"{name} ({path.rpartition('/')[2]}:{line})" for name, path, line, *_ in failure.frames]
    return " in " + ", ".join(frames[-4:]) if frames else ""
