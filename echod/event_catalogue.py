"""The catalogue of events: each event that the daemon emits, with its severity, fields, text and rate.

docs/EVENTS.md has the same lists, and a test compares them. `Events.tell` refuses an event that differs from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from types import MappingProxyType
from typing import Any, Final


class Severity(StrEnum):
    """How urgent an event is, in rising order."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"

    def at_least(self, lowest: Severity) -> bool:
        """Whether this severity is `lowest` or above."""
        return _ORDER[self] >= _ORDER[lowest]


_ORDER: Final = {severity: at for at, severity in enumerate(Severity)}


@dataclass(frozen=True)
class Field:
    """A field of events: it has the same type and meaning in each of them."""

    type: type
    meaning: str
    unit: str = ""


FIELDS: Final[Mapping[str, Field]] = MappingProxyType(
    {
        "service": Field(str, "the name of the service"),
        "services": Field(str, "the names of the services, separated by commas"),
        "address": Field(str, "the address of the listener"),
        "peer": Field(str, "the address of the client"),
        "proxy": Field(str, "the address of the proxy that named the client; absent without a proxy"),
        "host": Field(str, "the client's IP address, without its port"),
        "reason": Field(str, "why; for connections, a word of ADMIN or SECURITY"),
        "error": Field(str, "the error, in one line"),
        "errors": Field(str, "every error of the configuration, separated by semicolons"),
        "bytes_in": Field(int, "payload received", "bytes"),
        "bytes_out": Field(int, "payload that the kernel accepted", "bytes"),
        "refused": Field(int, "how many were refused meanwhile", "connections or datagrams"),
        "setting": Field(str, "the limit: its table, its line, and its file unless it is a default"),
        "limit": Field(int, "the value of `total-buffer`", "bytes"),
        "source": Field(str, "the file of the certificate, or the word of the configuration"),
        "subject": Field(str, "the subject of the certificate"),
        "until": Field(str, "the end of its validity, in UTC"),
        "days": Field(int, "whole days until then, rounded down", "days"),
        "fault": Field(str, "the key of the fault"),
        "faults": Field(str, "the faults of the service by key, or `none`"),
        "count": Field(int, "how often it was injected", "faults"),
        "by": Field(str, "the cause: a signal, the administrator, or a script"),
        "worker": Field(str, "the number of the worker, or `spare`"),
        "pid": Field(int, "the process"),
        "listeners": Field(int, "listeners that are served", "listeners"),
        "opened": Field(int, "addresses that were opened", "addresses"),
        "closed": Field(int, "addresses that were closed", "addresses"),
        "changed": Field(int, "services that were changed", "services"),
        "changes": Field(str, "the first 20 changes, separated by semicolons"),
        "connections": Field(int, "open connections", "connections"),
        "seconds": Field(float, "the value of `drain`", "seconds"),
        "lines": Field(int, "lines that could not be written", "lines"),
        "events": Field(int, "events that could not be delivered", "events"),
        "counters": Field(dict, "every counter that is not 0, by service and address"),
    }
)
"""Each field by its name."""


@dataclass(frozen=True)
class Rate:
    """At most `most` events in each window of `seconds`. With `by_cause`, for each `error` separately."""

    most: int
    seconds: float
    by_cause: bool = False


MOST: Final = 10  #: events of one kind a second: as many as an operator can read
MOST_DEBUG: Final = 1_000  #: the same at severity debug, which has events of every connection


@dataclass(frozen=True)
class EventType:
    """One event of the catalogue. `text` is its line in the log, with the fields in braces.

    `rate` limits events that peers can cause repeatedly, in the log and in streams; None does not limit them.
    """

    severity: Severity
    meaning: str
    text: str
    fields: tuple[str, ...]
    optional: tuple[str, ...] = ()
    rate: Rate | None = None

    def mismatch(self, fields: Mapping[str, Any]) -> str | None:
        """Why these fields are not those of the event, or None. Compares names; `wrong_types` compares values."""
        missing = [name for name in self.fields if name not in fields]
        unknown = [name for name in fields if name not in self.fields and name not in self.optional]
        return f"missing {missing}, unknown {unknown}" if missing or unknown else None

    def wrong_types(self, fields: Mapping[str, Any]) -> list[str]:
        """The fields whose values have another type than FIELDS gives."""
        return [
            name
            for name, value in fields.items()
            if not isinstance(value, (FIELDS[name].type, int) if FIELDS[name].type is float else FIELDS[name].type)
        ]


_WHERE: Final = ("service", "address")
_CLIENT: Final = (*_WHERE, "peer")
_PROXIED: Final = ("proxy",)
_CERTIFICATE: Final = ("services", "source", "subject", "until", "days")
_EACH: Final = Rate(MOST_DEBUG, 1.0)
_SOME: Final = Rate(MOST, 1.0)
_MINUTE: Final = Rate(1, 60.0)

CATALOGUE: Final[Mapping[str, EventType]] = MappingProxyType(
    {
        "listener.opened": EventType(Severity.INFO, "a listener was opened", "{service}  {address}", _WHERE),
        "listener.awaited": EventType(
            Severity.WARN,
            "an address with `retry` does not exist yet",
            "{service}  {address} does not exist yet; retrying: {error}",
            (*_WHERE, "error"),
        ),
        "listener.closed": EventType(
            Severity.DEBUG, "a listener was closed", "{service}  {address} is no longer served", _WHERE
        ),
        "connection.opened": EventType(
            Severity.DEBUG,
            "a connection was admitted",
            "{service}  {address} from {peer}",
            _CLIENT,
            _PROXIED,
            _EACH,
        ),
        "connection.refused": EventType(
            Severity.DEBUG,
            "a connection was refused",
            "{service}  {address} refused {peer}: {reason}",
            (*_CLIENT, "reason"),
            _PROXIED,
            _EACH,
        ),
        "connection.closed": EventType(
            Severity.DEBUG,
            "a connection was closed",
            "{service}  {address} from {peer} ended: {reason}, {bytes_in} in, {bytes_out} out",
            (*_CLIENT, "reason", "bytes_in", "bytes_out"),
            _PROXIED,
            _EACH,
        ),
        "client.denied": EventType(
            Severity.INFO,
            "a client's network is not allowed",
            "{service}  {address} denied {peer}; to allow it: --allow {host}, or the keys allow and deny",
            (*_CLIENT, "host"),
            _PROXIED,
            _MINUTE,
        ),
        "proxy.denied": EventType(
            Severity.INFO,
            "a peer is not in `proxy-from`",
            "{service}  {address} refused {peer}, which is not in proxy-from; if it is a proxy: add {host} to that key",
            (*_CLIENT, "host"),
            _PROXIED,
            _MINUTE,
        ),
        "handshake.failed": EventType(
            Severity.INFO,
            "the handshake of a layer failed",
            "{service}  {address} handshake with {peer} failed: {error}",
            (*_CLIENT, "error"),
            _PROXIED,
            Rate(1, 10.0, by_cause=True),
        ),
        "accept.paused": EventType(
            Severity.WARN,
            "the kernel returns no connections, and the listener pauses",
            "{service}  {address} accepts no connections for now: {error}",
            (*_WHERE, "error"),
            rate=_SOME,
        ),
        "accept.resumed": EventType(
            Severity.INFO,
            "the listener accepts again",
            "{service}  {address} accepts again; {refused} refused meanwhile",
            (*_WHERE, "refused"),
            rate=_SOME,
        ),
        "limit.reached": EventType(
            Severity.WARN,
            "a limit of a service refuses clients or datagrams, reported once in 60 s for each",
            "{service}: refused {refused}, because of {setting} ({reason})",
            ("service", "reason", "refused", "setting"),
            rate=_SOME,
        ),
        "filter.refused": EventType(
            Severity.WARN,
            "the kernel refuses the filter of a flood, so the listener reads every datagram; reported once for each",
            "{service}  {address} reads each datagram of a flood, because the kernel refuses a filter: {error}",
            (*_WHERE, "error"),
            rate=_SOME,
        ),
        "reading.paused": EventType(
            Severity.WARN,
            "more than `total-buffer` waits to be sent, and stalled connections are not read from",
            "more than {limit} bytes of output are pending: slow readers are not read from",
            ("limit",),
            rate=_MINUTE,
        ),
        "reading.resumed": EventType(
            Severity.INFO,
            "less than `total-buffer` waits to be sent again",
            "fewer than {limit} bytes of output are pending: all clients are read from again",
            ("limit",),
            rate=_MINUTE,
        ),
        "certificate.loaded": EventType(
            Severity.INFO,
            "a reload has loaded another certificate",
            "{services}: loaded the certificate {subject} of {source}, valid until {until}, {days:day|days} left",
            _CERTIFICATE,
        ),
        "certificate.expiring": EventType(
            Severity.WARN,
            "a certificate has fewer than 21 days left, reported once a day",
            "{services}: the certificate {subject} of {source} is valid until {until}, {days:day|days} left: renew it",
            _CERTIFICATE,
        ),
        "fault.injected": EventType(
            Severity.DEBUG,
            "faults were injected, reported once a second for each",
            "{service}  fault {fault} injected, {count:time|times}",
            ("service", "fault", "count"),
            rate=_EACH,
        ),
        "fault.unavailable": EventType(
            Severity.WARN,
            "the kernel refuses what a fault needs, reported once until the faults change",
            "{service}  fault {fault} has no effect: {error}",
            ("service", "fault", "error"),
            rate=_SOME,
        ),
        "faults.changed": EventType(
            Severity.INFO,
            "the faults of a service were changed",
            "{service}  faults are now: {faults} (changed by {by})",
            ("service", "faults", "by"),
            rate=_SOME,
        ),
        "worker.started": EventType(
            Severity.INFO, "a worker process serves", "worker {worker} serves, process {pid}", ("worker", "pid")
        ),
        "worker.ended": EventType(
            Severity.ERROR,
            "a worker process has ended, and another one replaces it",
            "worker {worker}, process {pid}, has ended: {reason}",
            ("worker", "pid", "reason"),
        ),
        "daemon.ready": EventType(
            Severity.INFO, "everything is bound and served", "ready: {listeners:listener|listeners}", ("listeners",)
        ),
        "daemon.reloading": EventType(
            Severity.DEBUG, "a reload has begun", "reading the configuration again, for {by}", ("by",)
        ),
        "daemon.reloaded": EventType(
            Severity.INFO,
            "the new configuration is in force",
            "reloaded: {opened:address|addresses} opened, {closed} closed, {changed:service|services} changed:"
            " {changes}",
            ("opened", "closed", "changed", "changes"),
        ),
        "daemon.refused": EventType(
            Severity.ERROR,
            "the new configuration is wrong, and nothing has changed",
            "not reloaded, the old configuration stays: {errors}",
            ("errors",),
        ),
        "daemon.draining": EventType(
            Severity.INFO,
            "no new connections; open ones have time to finish",
            "stopping: {connections:connection has|connections have} {seconds:g} s to end",
            ("connections", "seconds"),
        ),
        "log.incomplete": EventType(
            Severity.WARN,
            "lines and events that could not be written or delivered, reported at the end",
            "{lines:line|lines} could not be written, {events:event|events} not delivered",
            ("lines", "events"),
        ),
        "daemon.stopped": EventType(
            Severity.INFO, "the daemon has stopped, with every counter", "stopped {counters}", ("counters",)
        ),
    }
)
"""Each event by its name. Names and fields are a stable interface."""

LONGEST: Final = 64  #: characters of a pattern for names of events


def matching(patterns: Iterable[str]) -> frozenset[str]:
    """The events whose names match one of these shell patterns, such as `connection.*`; no pattern longer than LONGEST
    matches, because a pattern may take a time that grows with the square of its length.
    """
    # Not fnmatchcase: it keeps the last 32,768 patterns, which are of any client; `re` keeps 512.
    matches = [re.compile(translate(pattern)).match for pattern in patterns if len(pattern) <= LONGEST]
    return frozenset(name for name in CATALOGUE if any(match(name) for match in matches))
