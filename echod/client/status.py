"""`echoctl status`: what the running daemon serves, since when, and what it has counted."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from echod.client.admin import Administrator, Refused, Unanswered, place, understanding
from echod.client.terminal import fail
from echod.text import counted, escaped

UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def run(arguments: argparse.Namespace) -> int:
    """Print it and return 0, or why there is no answer and return 1."""
    try:
        address = place(arguments)
        with Administrator(address) as administrator:
            status = administrator.ask("/api/status")
        with understanding(address):
            lines = list(page(status))
    except (Unanswered, Refused) as error:
        fail(escaped(str(error)))
        return 1
    if arguments.json:
        print(json.dumps(status))
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def page(status: Mapping[str, Any]) -> Iterator[str]:
    """The status for eyes, line by line."""
    state = "ready" if status["ready"] else "not ready"
    yield f"echod {escaped(str(status['version']))}, {state}, process {status['pid']:d}, for {span(status['uptime'])}"
    files = ", ".join(escaped(str(file)) for file in status["files"]) or "built in, or from the command line"
    yield f"configuration: {files}"
    if (last := status["last_reload"]) is not None and not last["reloaded"]:
        yield f"the last reload was refused: {escaped('; '.join(last['errors']))}"
    for one in status.get("awaited", ()):
        yield escaped(f"waiting for {one['address']} ({one['service']}): {one['error']}")
    if lost := status["lines_lost"] + status["events_lost"]:
        yield f"the log lacks {counted(int(lost), 'line', 'lines')}"
    yield ""
    yield from table(HEADINGS, list(rows(status)))
    refusals = list(refused(status))
    if refusals:
        yield ""
        yield from table(("REFUSED", "WHY", "SERVICE", "ADDRESS"), refusals)


HEADINGS: Final = ("SERVICE", "ADDRESS", "OPEN", "CONNECTIONS", "DATAGRAMS", "IN", "OUT", "REFUSED")


def rows(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each listener."""
    for service in status["services"]:
        for one in service["listeners"]:
            datagrams = "udp://" in one["address"] or "-dgram://" in one["address"]
            yield (
                escaped(service["name"]),
                escaped(one["address"]),
                "" if datagrams else f"{one['open']:d}",
                "" if datagrams else f"{one['accepted']:,}",
                f"{one['datagrams_in']:,}" if datagrams else "",
                size(one["bytes_in"]),
                size(one["bytes_out"]),
                f"{sum(one['refused'].values()):,}",
            )


def refused(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each reason for which a listener refused something, the most frequent first."""
    found = [
        (count, reason, service["name"], one["address"])
        for service in status["services"]
        for one in service["listeners"]
        for reason, count in one["refused"].items()
    ]
    for count, reason, name, address in sorted(found, reverse=True):
        yield f"{count:,}", escaped(reason), escaped(name), escaped(address)


def table(headings: tuple[str, ...], lines: list[tuple[str, ...]]) -> Iterator[str]:
    """Columns: numbers to the right, words to the left."""
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    right = [all(not line[at] or line[at][0].isdigit() for line in lines) for at in range(len(headings))]
    for line in (headings, *lines):
        cells = (cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right, strict=True))
        yield "  ".join(cells).rstrip()


def size(octets: float) -> str:
    """Octets in the unit that people read: `1.5 MiB`."""
    unit = 0
    while octets >= 1024 and unit < len(UNITS) - 1:
        octets /= 1024
        unit += 1
    return f"{octets:.0f} {UNITS[unit]}" if unit == 0 or octets >= 100 else f"{octets:.1f} {UNITS[unit]}"


def span(seconds: float) -> str:
    """A time that has passed: `3 d 4 h`, `12 min`, `5 s`."""
    whole = int(seconds)
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"
