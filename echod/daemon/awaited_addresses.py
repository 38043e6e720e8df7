"""Retries to bind addresses with `retry` that this machine does not have yet, as before DHCP or VRRP.

This module keeps the list and its timers. The daemon binds and serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.base import DelayedCall

from echod.config.units import duration
from echod.daemon.bind import ListenSpec

SHORTEST: Final = 0.1  #: seconds from one attempt to the next


@dataclass(frozen=True)
class Awaited:
    """One address that cannot be bound yet, and why."""

    spec: ListenSpec
    why: str

    def as_fields(self) -> dict[str, str]:
        """The fields of events and of the admin interface."""
        return {"service": self.spec.service.name, "address": self.spec.address.label, "error": self.why}


class AwaitedAddresses:
    """Tries each address again every `retry`. `attempt` serves one, and returns None or why it cannot.

    `tell` publishes an event for each address that is added.
    """

    def __init__(self, reactor: Any, attempt: Callable[[ListenSpec], str | None], tell: Callable[..., None]) -> None:
        self._tell = tell
        self._reactor = reactor
        self._attempt = attempt
        self._awaited: dict[ListenSpec, Awaited] = {}
        self._timers: dict[ListenSpec, DelayedCall] = {}

    def __iter__(self) -> Iterator[Awaited]:
        return iter(tuple(self._awaited.values()))

    def begin(self, absent: Mapping[ListenSpec, str]) -> None:
        """Replace the list by these addresses, each with the reason."""
        self.stop()
        for spec, why in absent.items():
            self._awaited[spec] = Awaited(spec, why)
            self._tell("listener.awaited", **self._awaited[spec].as_fields())
            self._wait(spec)

    def stop(self) -> None:
        """Cancel every attempt, and empty the list."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._awaited.clear()

    def _wait(self, spec: ListenSpec) -> None:
        seconds = max(duration(str(spec.address.options["retry"])), SHORTEST)
        self._timers[spec] = self._reactor.callLater(seconds, self._try, spec)

    def _try(self, spec: ListenSpec) -> None:
        del self._timers[spec]
        why = self._attempt(spec)
        if why is None:
            del self._awaited[spec]
        else:
            self._awaited[spec] = Awaited(spec, why)
            self._wait(spec)
