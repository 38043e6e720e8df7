"""The output of a bench: lines of text, a progress bar, CSV, or JSON objects. A method for each event."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from echod.client.histogram import Histogram
from echod.client.load.figures import MILLISECOND, byte_rate, second_line
from echod.client.load.slices import Second
from echod.client.plots.last_minute import LastMinute
from echod.client.record_lines import csv_line, json_line
from echod.client.stdout import Screen, fail, put_text

COLUMNS: Final = (
    *("time", "url", "begin_s", "end_s", "sent", "received", "failed", "bytes_sent", "bytes_received"),
    *("p50_ms", "p90_ms", "p99_ms", "max_ms"),
)
"""The columns of CSV, and the keys of the object of a second."""
HUNDRED: Final = 100  #: the whole of the progress bar


class Silent:
    """Prints nothing: for --json."""

    def started(self, line: str) -> None:
        """Sending begins; `line` describes the load."""

    def step(self, now: float, times: Histogram, failed: int) -> None:
        """A step of measuring ends `now`, in seconds; these are its latencies, and the number of failed messages."""

    def second(self, second: Second) -> None:
        """A second of measuring has ended, or the part of one before the end."""

    def progress(self, share: float, second: Second | None) -> None:
        """A share (0–1) of the load was sent; `second` is the last one."""

    def failure(self, text: str) -> None:
        """The first failure of a cause: print it on standard error."""
        fail(text)

    def finished(self) -> None:
        """The load has ended, or is interrupted; the summary follows."""

    def summary(self, title: str, lines: Sequence[str]) -> None:
        """The summary as text."""

    def facts(self, found: Mapping[str, Any]) -> None:
        """All figures."""


class Text(Silent):
    """A line for each second, and the summary. `quiet` prints only the summary."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._screen = Screen()

    def started(self, line: str) -> None:
        if not self._quiet:
            self._print(line)

    def second(self, second: Second) -> None:
        if not self._quiet and second.duration >= 0.5:
            self._print(second_line(second))

    def summary(self, title: str, lines: Sequence[str]) -> None:
        if not self._quiet:
            self._print("")
        for line in (f"--- {title} ---", *lines):
            self._print(line)

    def _print(self, line: str) -> None:
        self._screen.write(f"{line}\n".encode())


class Bar(Text):
    """A progress bar on a terminal, with the rates of the last second."""

    def __init__(self) -> None:
        super().__init__(quiet=False)
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # slow to import

        columns = (TextColumn("{task.description}"), BarColumn(30), TaskProgressColumn())
        self._progress = Progress(*columns, auto_refresh=False, transient=True)
        self._task = self._progress.add_task("", total=HUNDRED)
        self._begun = False

    def started(self, line: str) -> None:
        super().started(line)
        self._begun = True
        self._progress.start()

    def second(self, second: Second) -> None:
        """The bar shows it."""

    def progress(self, share: float, second: Second | None) -> None:
        text = ""
        if second is not None and second.times.total:
            rate = byte_rate(second.bytes_received / second.duration)
            p50, p99 = (second.times.percentile(fraction) / MILLISECOND for fraction in (0.5, 0.99))
            text = f"{second.received / second.duration:,.0f} messages/s  {rate}  p50 {p50:.3f}  p99 {p99:.3f} ms"
        self._progress.update(self._task, completed=HUNDRED * share, description=text, refresh=True)

    def failure(self, text: str) -> None:
        self.finished()
        fail(text)
        if self._begun:
            self._progress.start()

    def finished(self) -> None:
        if self._begun:
            self._progress.stop()


class Live(Text):
    """The last minute as a graph, on a screen of its own. The summary is printed as without it."""

    def __init__(self, color: str) -> None:
        super().__init__(quiet=True)
        from echod.client.live_screen import EVERY, LiveScreen  # slow to import

        self._every = EVERY
        self._own = LiveScreen(color)
        self._minute: LastMinute | None = None
        self._drawn = 0.0  # when it was drawn last

    def started(self, line: str) -> None:
        self._minute = LastMinute(f"{line}   (Ctrl-C ends)")
        self._own.begin()
        self._draw(0.0)

    def step(self, now: float, times: Histogram, failed: int) -> None:
        assert self._minute is not None, "a step before the start"
        self._minute.merge(now, times, failed)
        if now - self._drawn >= self._every:
            self._draw(now)

    def failure(self, text: str) -> None:
        if self._minute is None:
            fail(text)
        else:
            self._minute.notice = text

    def finished(self) -> None:
        if self._minute is not None:
            self._own.end()

    def _draw(self, now: float) -> None:
        assert self._minute is not None, "drawn before the start"
        self._drawn = now
        columns, rows = shutil.get_terminal_size((80, 24))
        self._own.plot(self._minute.lines(now, columns, rows))


class Rows(Silent):
    """One record for each second."""

    def __init__(self, url: str, wall_clock: Callable[[], int] = time.time_ns) -> None:
        self._url = url
        self._wall_clock = wall_clock

    def second(self, second: Second) -> None:
        times = second.times
        values = [times.percentile(fraction) for fraction in (0.5, 0.9, 0.99)] + [times.maximum]
        found = [round(value / MILLISECOND, 6) if times.total else None for value in values]
        counted = (second.sent, second.received, second.failed, second.bytes_sent, second.bytes_received)
        bounds = (round(second.begin, 6), round(second.end, 6))
        self.record((round(self._wall_clock() / 1e9, 6), self._url, *bounds, *counted, *found))

    def record(self, values: Sequence[Any]) -> None:
        """Print one record; the values are those of COLUMNS."""
        raise NotImplementedError


class Csv(Rows):
    """Comma-separated values (RFC 4180), with LF as the line end, and a header."""

    def started(self, line: str) -> None:
        put_text(csv_line(COLUMNS))

    def record(self, values: Sequence[Any]) -> None:
        put_text(csv_line(values))


class JsonLines(Rows):
    """One JSON object for each second, without the keys that have no value; and one with all figures at the end."""

    def record(self, values: Sequence[Any]) -> None:
        put_text(json_line(COLUMNS, values))

    def facts(self, found: Mapping[str, Any]) -> None:
        put_text(json.dumps(found) + "\n")


class Json(Silent):
    """One JSON object at the end."""

    def facts(self, found: Mapping[str, Any]) -> None:
        put_text(json.dumps(found) + "\n")


def output(arguments: argparse.Namespace) -> Silent:
    """The output that the options choose, except the live display."""
    if arguments.json:
        return Json()
    if arguments.csv:
        return Csv(str(arguments.url))
    if arguments.json_lines:
        return JsonLines(str(arguments.url))
    if arguments.live:
        return Live(arguments.color)
    if sys.stdout.isatty() and not arguments.quiet:
        return Bar()
    return Text(quiet=arguments.quiet)
