"""The most recent events, in bounded memory, and the streams that follow them.

Events of severity debug are not kept, because those of connections would replace all others; streams get them live.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from echod.event_catalogue import CATALOGUE, Severity
from echod.telemetry.event_record import message, rate_class, record
from echod.telemetry.line_rate_limit import LineRateLimit

KEPT: Final = 1_000  #: events: a day of a daemon with few problems
KEPT_BYTES: Final = 1 << 20  #: of their JSON


@dataclass(frozen=True)
class KeptEvent:
    """One event. `data` is its JSON, one line without a line end, and `identifier` is unique among all daemons."""

    identifier: str
    number: int  #: among the events of this daemon
    at: float  #: of a monotonic clock, in seconds
    name: str
    services: tuple[str, ...]  #: the services that it names; none for the daemon as a whole
    data: bytes


@dataclass(frozen=True)
class Selection:
    """Which events a stream has: of these names (all if None), of a service, of at least a severity."""

    names: frozenset[str] | None = None
    service: str | None = None
    severity: Severity = Severity.INFO

    def has(self, event: KeptEvent) -> bool:
        """Whether an event is selected."""
        return (
            (self.names is None or event.name in self.names)
            and (self.service is None or self.service in event.services)
            and CATALOGUE[event.name].severity.at_least(self.severity)
        )


class RecentEvents:
    """Keeps events, and calls each follower with those that it has selected.

    Followers share the rate of an event with those kept: an event above it is counted, and the next one of its kind has
    the number in `suppressed`. `watch(True)` is called when the first follower wants events of single connections, and
    `watch(False)` after the last one. `clock` is monotonic, in seconds.
    """

    def __init__(self, watch: Callable[[bool], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.watchers = 0  #: followers that want events of severity debug
        self._watch = watch
        self._clock = clock
        self._start = secrets.token_hex(4)
        self._number = 0
        self._kept: deque[KeptEvent] = deque()
        self._bytes = 0
        self._limit = LineRateLimit(clock)
        self._followers: dict[Callable[[KeptEvent], None], Selection] = {}

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """Keep an event, and pass it to its followers. Subscribe this method to the events."""
        kind = CATALOGUE[name]
        if kind.severity is Severity.DEBUG and not self.watchers:
            return
        more: dict[str, int] = {}
        if kind.rate is not None:
            what = rate_class(name, fields)
            if not self._limit.passes(what, kind.rate.most, kind.rate.seconds, 0.0):
                return
            if suppressed := self._limit.take_one(what):
                more = {"suppressed": suppressed}
        self._number += 1
        named = tuple(str(fields["services"]).split(", ")) if "services" in fields else ()
        services = (str(fields["service"]),) if "service" in fields else named
        data = record(kind.severity, message(name, fields), {"event": name, **fields, **more}).encode()
        event = KeptEvent(f"{self._start}-{self._number}", self._number, self._clock(), name, services, data)
        if kind.severity is not Severity.DEBUG:
            self._keep(event)
        for follower, selection in tuple(self._followers.items()):
            if selection.has(event):
                follower(event)

    def select(self, selection: Selection, seconds: float | None = None, after: str = "") -> list[KeptEvent]:
        """The kept events of a selection, oldest first.

        With `seconds`, those that are at most so old. With the identifier `after`, those after that event; all, if the
        identifier is unknown.
        """
        oldest = None if seconds is None else self._clock() - seconds
        start, _, number = after.rpartition("-")
        known = start == self._start and re.fullmatch("[0-9]{1,18}", number)
        last = int(number) if known else 0
        kept = (one for one in self._kept if one.number > last and (oldest is None or one.at >= oldest))
        return [one for one in kept if selection.has(one)]

    def has_service(self, name: str) -> bool:
        """Whether a kept event names this service, which may have been removed since."""
        return any(name in one.services for one in self._kept)

    def follow(self, selection: Selection, follower: Callable[[KeptEvent], None]) -> None:
        """Call `follower` for each event of a selection from now on."""
        self._changing(lambda: self._followers.update({follower: selection}))

    def unfollow(self, follower: Callable[[KeptEvent], None]) -> None:
        """End a `follow`."""
        self._changing(lambda: self._followers.pop(follower, None))

    def _changing(self, change: Callable[[], object]) -> None:
        watched = self.watchers > 0
        change()
        self.watchers = sum(selection.severity is Severity.DEBUG for selection in self._followers.values())
        if (watches := self.watchers > 0) is not watched:
            self._watch(watches)

    def _keep(self, event: KeptEvent) -> None:
        self._kept.append(event)
        self._bytes += len(event.data)
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            self._bytes -= len(self._kept.popleft().data)
