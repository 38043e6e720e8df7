"""Events when a limit of a service refuses clients or datagrams, from the counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from echod.config.printing import setting
from echod.config.schema_check import DEFAULT
from echod.config.settings import Configuration, ServiceConfig
from echod.daemon.refusal_settings import KEYS
from echod.events import Counters
from echod.gate.refusal import Refusal

CHECKED_EVERY: Final = 5.0  #: seconds between two checks of the counters
AGAIN_AFTER: Final = 60.0  #: seconds between two events of the same limit of the same service

LIMITS: Final = frozenset(reason for reason, key in KEYS.items() if key.startswith("limits."))
"""The reasons that a limit causes. The access lists have events of their own, and the others depend on one client."""

AllCounters = Mapping[tuple[str, str], Counters]
"""The counters by the name of the service and the address of the listener."""


class RefusalWatch:
    """Compares the counters with those of the last report, and reports each limit that has refused to `tell`.

    The first refusal is reported by the next check. While a limit continues to refuse, it is reported once in
    AGAIN_AFTER, with the number since the last report. After a change of the limit, the refusals before it are not
    reported: the event would name the new value. `clock` returns seconds.
    """

    def __init__(self, clock: Callable[[], float], tell: Callable[..., None]) -> None:
        self._clock = clock
        self._tell = tell
        # The time and the counter of the last report, and the setting at the last check.
        self._reported: dict[tuple[str, Refusal], tuple[float, int, str]] = {}

    def check(self, configuration: Configuration, counters: AllCounters) -> None:
        """Report the limits of the services that have refused something since their last report."""
        now = self._clock()
        last, self._reported = self._reported, {}
        for service in configuration.services:
            for reason, count in _refused(counters, service.name).items():
                limit = _setting(service, reason, configuration)
                then, before, checked = last.get((service.name, reason), (-AGAIN_AFTER, 0, limit))
                if checked != limit:
                    then, before = -AGAIN_AFTER, count
                before = min(before, count)  # a reload has closed an address, and its counters are gone
                if count > before and now - then >= AGAIN_AFTER:
                    refused = count - before
                    self._tell(
                        "limit.reached", service=service.name, reason=str(reason), refused=refused, setting=limit
                    )
                    then, before = now, count
                self._reported[service.name, reason] = then, before, limit


def _refused(all_counters: AllCounters, name: str) -> dict[Refusal, int]:
    """The refusals of a service by its limits, at all its addresses."""
    found: dict[Refusal, int] = {}
    for (service, _), counters in all_counters.items():
        if service == name:
            for reason in LIMITS & counters.refused.keys():
                found[reason] = found.get(reason, 0) + counters.refused[reason]
    return found


def _setting(service: ServiceConfig, reason: Refusal, configuration: Configuration) -> str:
    """The limit: its table, its line, and its file unless it is a default."""
    table, line, origin = setting(service, KEYS[reason], configuration.origins)
    return f"[{table}] {line}" + ("" if origin == str(DEFAULT) else f" in {origin}")
