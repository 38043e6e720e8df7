"""The output of a ping while it runs: lines of text, CSV, or JSON objects. A method for each event."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from echod.client.loss_pattern import Outage
from echod.client.probe_ledger import ProbeResult, ReplyClass
from echod.client.record_lines import csv_line, json_line
from echod.client.stdout import Screen, colored, put_text
from echod.config.units import duration_text
from echod.escaping import counted, escaped

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
COLUMNS: Final = (
    *("time", "url", "seq", "result", "rtt_ms", "bytes", "remote", "ttl"),
    *("forward_ms", "backward_ms", "server_ms", "error"),
)
"""The columns of CSV, and the keys of the object of a probe."""

FORMULA: Final = ("=", "+", "-", "@")  #: the start of a formula in a spreadsheet; tabs and CR are escaped already


class Silent:
    """Prints nothing: for --json, and for monitoring plugins."""

    def started(self, label: str, what: str, interval: float) -> None:
        """The first probe is due."""

    def reply(self, finding: ProbeResult, remote: str, *, connecting: bool) -> None:
        """A reply was received."""

    def lost(self, number: int, why: str, remote: str, *, told: bool = False) -> None:
        """A probe is lost; the reason is `told` if an error message has it already."""

    def outstanding(self, number: int) -> None:
        """The next probe is due, and this one has no reply yet."""

    def outage(self, outage: Outage) -> None:
        """Replies arrive again after an outage."""

    def ended(self) -> None:
        """No more events follow, except the summary. An error message may be printed now."""

    def summary(self, title: str, lines: Sequence[str], *, bad: bool) -> None:
        """The end; the first line has the counts, which are `bad` if probes were lost or replies wrong."""

    def facts(self, found: Mapping[str, Any]) -> None:
        """All figures, at the end."""


class Text(Silent):
    """Lines of text. `quiet` prints only the summary."""

    def __init__(self, arguments: argparse.Namespace, wall_clock: Callable[[], float]) -> None:
        self._quiet = arguments.quiet
        self._flood = arguments.flood
        self._verbose = arguments.verbose
        self._dates = arguments.dates
        self._wall_clock = wall_clock
        self._screen = Screen()
        self._colored = colored(arguments.color)

    def started(self, label: str, what: str, interval: float) -> None:
        self._event(f"{label}: {what} every {duration_text(interval)}")

    def reply(self, finding: ProbeResult, remote: str, *, connecting: bool) -> None:
        if not self._flood or finding.kind is ReplyClass.WRONG:
            self._event(self._line(finding, remote, connecting), COLORS.get(finding.kind, ""))

    def lost(self, number: int, why: str, remote: str, *, told: bool = False) -> None:
        if self._flood and not self._quiet:
            put_text(".")
        else:
            self._event(f"no reply from {remote}: seq={number} lost{'' if told else f': {why}'}", RED)

    def outstanding(self, number: int) -> None:
        self._event(f"no answer yet for seq={number}", YELLOW)

    def outage(self, outage: Outage) -> None:
        if not self._flood:
            lost = counted(outage.lost, "probe", "probes")
            self._event(f"replies again after {outage.seconds:.3f} s: {lost} lost from seq={outage.first}", YELLOW)

    def summary(self, title: str, lines: Sequence[str], *, bad: bool) -> None:
        if not self._quiet:
            self._print("")
        self._print(f"--- {title} ---")
        counts, *others = lines
        self._print(counts, RED if bad else "")
        for line in others:
            self._print(line, YELLOW if line.startswith("warning: ") else "")

    def _line(self, finding: ProbeResult, remote: str, connecting: bool) -> str:
        size = counted(finding.size, "byte", "bytes")
        text = f"connected to {remote}:" if connecting else f"{size} from {remote}:"
        if finding.number is not None:
            text += f" seq={finding.number}"
        if finding.kind is ReplyClass.WRONG:
            return f"{text} wrong: {finding.error}"
        if finding.seconds is not None:
            text += f" time={finding.seconds * 1000:.3f} ms"
        if finding.parts is not None:
            connecting_time, handshake = finding.parts
            text += f" tcp={connecting_time * 1000:.3f} ms tls={handshake * 1000:.3f} ms"
        if self._verbose:
            text += f" ttl={finding.ttl}" if finding.ttl is not None else ""
            if finding.one_way is not None:
                named = zip(("forward", "backward", "server"), finding.one_way, strict=True)
                text += "".join(f" {name}={seconds * 1000:.3f} ms" for name, seconds in named)
            text += f" ({finding.remote})" if finding.remote else ""
        return text + NOTES[finding.kind]

    def _event(self, line: str, color: str = "") -> None:
        if not self._quiet:
            self._print(f"[{self._wall_clock():.6f}] {line}" if self._dates else line, color)

    def _print(self, line: str, color: str = "") -> None:
        if color and self._colored:
            put_text(f"{color}{escaped(line)}{PLAIN}\n")
        else:
            self._screen.write(f"{line}\n".encode())


class Rows(Silent):
    """One record for each probe that is received or lost, and for each other reply."""

    def __init__(self, url: str, wall_clock: Callable[[], float]) -> None:
        self._url = url
        self._wall_clock = wall_clock

    def reply(self, finding: ProbeResult, remote: str, *, connecting: bool) -> None:
        one_way = finding.one_way or (None, None, None)
        times = (finding.seconds, *one_way)
        rtt, forward, backward, server = (None if each is None else round(each * 1000, 6) for each in times)
        found = (finding.number, finding.kind.value, rtt, finding.size, remote, finding.ttl, forward, backward, server)
        self.record((self._wall_clock(), self._url, *found, escaped(finding.error) or None))

    def lost(self, number: int, why: str, remote: str, *, told: bool = False) -> None:
        why = escaped(why)
        self.record((self._wall_clock(), self._url, number, "lost", None, None, remote, None, None, None, None, why))

    def record(self, values: Sequence[Any]) -> None:
        """Print one record; the values are those of COLUMNS."""
        raise NotImplementedError


class Csv(Rows):
    """Comma-separated values (RFC 4180), with LF as the line end. The command prints the header.

    A text of the peer or of the network that a spreadsheet would take for a formula begins with an apostrophe.
    """

    def record(self, values: Sequence[Any]) -> None:
        put_text(csv_line([_inert(value) if isinstance(value, str) else value for value in values]))


class JsonLines(Rows):
    """One JSON object for each record, without the keys that have no value; and one with all figures at the end."""

    def record(self, values: Sequence[Any]) -> None:
        put_text(json_line(COLUMNS, values))

    def facts(self, found: Mapping[str, Any]) -> None:
        put_text(json.dumps(found) + "\n")


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def seconds() -> float:
    """The time in seconds since 1970."""
    return time.time_ns() / 1e9


def output(arguments: argparse.Namespace) -> Silent:
    """The output for one target, except the live display."""
    if arguments.csv:
        return Csv(str(arguments.url), seconds)
    if arguments.json_lines:
        return JsonLines(str(arguments.url), seconds)
    if arguments.json or arguments.warn is not None or arguments.critical is not None:
        return Silent()
    return Text(arguments, seconds)
