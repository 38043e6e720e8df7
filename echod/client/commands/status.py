"""`echoctl status`: prints the running daemon's uptime, listeners and counters."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from rich.console import RenderableType

from echod.client.admin import Administrator, RequestRefused, Unanswered, find_admin, parsing_response
from echod.client.stdout import fail
from echod.client.tables import ALARM, QUIET, fitted, line, screen, show
from echod.escaping import counted, escaped
from echod.tls.days_left import EXPIRING

UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def run(arguments: argparse.Namespace) -> int:
    """Print the status and return 0, or report the error and return 1."""
    console = screen(arguments.color)
    try:
        address = find_admin(arguments)
        with Administrator(address) as administrator, parsing_response(address):
            status = administrator.ask("/api/status")
            if arguments.connections:
                status["connections"] = administrator.ask(f"/api/connections?sort=bytes&limit={arguments.connections}")
            drawn = list(page(status, console.width, arguments.sort))
    except (Unanswered, RequestRefused) as error:
        fail(escaped(str(error)))
        return 1
    if arguments.json:
        print(json.dumps(status))
    else:
        for part in drawn:
            show(console, part)
    return 0


def page(status: Mapping[str, Any], width: int, order: str | None = None) -> Iterator[RenderableType]:
    """The status as lines and tables for a terminal of `width` columns."""
    state = "ready" if status["ready"] else "not ready"
    head = f"echod {status['version']}, {state}, process {status['pid']:d}, for {span(status['uptime'])}"
    yield line(head, QUIET if status["ready"] else ALARM)
    files = ", ".join(str(file) for file in status["files"]) or "built in, or from the command line"
    yield line(f"configuration: {files}")
    if "plane" in status:
        yield line(f"fast path: {fast_path(status)}")
    if (last := status["last_reload"]) is not None and not last["reloaded"]:
        yield line(f"the last reload was refused: {'; '.join(last['errors'])}", ALARM)
    if (bus := status.get("bus")) is not None:
        state, style = ("connected", QUIET) if bus["connected"] else ("not connected", ALARM)
        outages = int(bus.get("outages", 0))
        times = f"; it was lost {counted(outages, 'time', 'times')}" if outages else ""
        yield line(f"bus: {bus['url']}, {state}{times}", style)
    for one in status.get("awaited", ()):
        yield line(f"waiting for {one['address']} ({one['service']}): {one['error']}", ALARM)
    if lost := status["lines_lost"] + status["events_lost"]:
        # It never falls again, so it is not an alarm: `echoctl doctor` checks whether it still rises.
        yield line(f"the log has lost {counted(int(lost), 'line', 'lines')} since the start of the daemon")
    yield line("")
    if "workers" in status:
        yield fitted(WORKERS, list(workers(status)), width)
        yield line("")
    yield fitted(HEADINGS, list(rows(status, order)), width)
    if served := list(certificates(status)):
        yield line("")
        yield fitted(CERTIFICATES, [row for row, _ in served], width)
        for row, problem in served:
            if problem:
                yield line(f"{row[1]} of {row[0]} {problem}", ALARM)
    for service in status["services"]:
        if active := ", ".join(f"{key} = {value}" for key, value in service.get("faults", {}).items()):
            yield line(f"{service['name']} injects faults: {active}", ALARM)
    refusals = list(refused(status))
    if refusals:
        yield line("")
        yield fitted(REFUSALS, refusals, width)
    if "connections" in status:
        yield line("")
        yield fitted(CONNECTIONS, list(connections(status)), width)


def fast_path(status: Mapping[str, Any]) -> str:
    """How the fast path serves; a daemon of an earlier version does not report the native loop."""
    if not status["plane"]:
        return "off"
    return "on, with the native loop" if status.get("native") else "on, in Python"


CERTIFICATES: Final = ("SERVICE", "CERTIFICATE", "DAYS LEFT", "NAMES")
REFUSALS: Final = ("SERVICE", "ADDRESS", "WHY", "REFUSED")
WORKERS: Final = ("WORKER", "PROCESS", "OPEN", "FOR")
CONNECTIONS: Final = ("SERVICE", "PEER", "ADDRESS", "IN", "OUT", "UNSENT")
HEADINGS: Final = ("SERVICE", "ADDRESS", "OPEN", "CONNECTIONS", "DATAGRAMS", "IN", "OUT", "REFUSED")


FIGURES: Final[Mapping[str, Callable[[Mapping[str, Any]], int]]] = {
    "open": lambda one: one["open"],
    "connections": lambda one: one["accepted"],
    "datagrams": lambda one: one["datagrams_in"],
    "in": lambda one: one["bytes_in"],
    "out": lambda one: one["bytes_out"],
    "refused": lambda one: sum(one["refused"].values()),
}
"""The figures that the listeners can be sorted by."""


def _sorted(status: Mapping[str, Any], order: str | None) -> list[tuple[str, Mapping[str, Any]]]:
    """Each listener with the name of its service: as configured, by their names, or the largest figure first."""
    found = [(str(service["name"]), one) for service in status["services"] for one in service["listeners"]]
    if order == "name":
        found.sort(key=lambda item: (item[0], item[1]["address"]))
    elif order is not None:
        found.sort(key=lambda item: -FIGURES[order](item[1]))
    return found


def connections(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each connection that was asked for."""
    for one in status["connections"]:
        sizes = (size(one["bytes_in"]), size(one["bytes_out"]), size(one["unsent"]))
        yield (one["service"], one["peer"], one["address"], *sizes)


def rows(status: Mapping[str, Any], order: str | None = None) -> Iterator[tuple[str, ...]]:
    """A row for each listener."""
    for name, one in _sorted(status, order):
        datagrams = "udp://" in one["address"] or "-dgram://" in one["address"]
        yield (
            name,
            one["address"] + (f"?proxy={one['proxy']}" if "proxy" in one else ""),
            "" if datagrams else f"{one['open']:d}",
            "" if datagrams else f"{one['accepted']:,}",
            f"{one['datagrams_in']:,}" if datagrams else "",
            size(one["bytes_in"]),
            size(one["bytes_out"]),
            f"{sum(one['refused'].values()):,}",
        )


def workers(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each worker process."""
    for one in status["workers"]:
        state = span(one["uptime"]) if one["serving"] else "starting"
        if one["serving"] and not one.get("responding", True):
            state = "does not respond"
        yield (f"{one['worker']:d}", f"{one['pid']:d}", f"{one['connections']:,}", state)


def certificates(status: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """A row for each certificate and its problem, which may be "". The first to expire is the first."""
    found = [
        (int(one["days_left"]), service["name"], str(one["subject"]), ", ".join(map(str, one["names"])), _purpose(one))
        for service in status["services"]
        for one in service.get("certificates", ())
    ]
    for days, service, subject, names, problem in sorted(found):
        if not problem and days < EXPIRING:
            problem = "has expired" if days < 0 else f"expires soon: {counted(days, 'day', 'days')} left"
        yield (service, subject, f"{days}", names), problem


def _purpose(certificate: Mapping[str, Any]) -> str:
    """The reason why a certificate that is wrong on purpose needs no renewal, else ""."""
    return f"is wrong on purpose: {certificate['source']}" if certificate.get("on_purpose") else ""


def refused(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each listener and refusal reason, the most frequent first."""
    found = [
        (count, reason, service["name"], one["address"])
        for service in status["services"]
        for one in service["listeners"]
        for reason, count in one["refused"].items()
    ]
    for count, reason, name, address in sorted(found, reverse=True):
        yield name, address, reason, f"{count:,}"


def size(count: float) -> str:
    """A number of bytes with its unit: `1.5 MiB`."""
    unit = 0
    while count >= 1024 and unit < len(UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 or count >= 100 else f"{count:.1f} {UNITS[unit]}"


def span(seconds: float) -> str:
    """A duration for reading: `3 d 4 h`, `12 min`, `5 s`."""
    whole = int(seconds)
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"
