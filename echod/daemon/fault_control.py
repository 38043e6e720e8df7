"""Reads and changes the faults of a running service. A change is an exchange of the configuration, as a reload is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from echod.admin.fault_resource import FaultChange
from echod.config.settings import Configuration, ServiceConfig
from echod.daemon.config_diff import ConfigurationRefused
from echod.daemon.listener import Listener
from echod.daemon.reloader import Reloader
from echod.daemon.worker_pool_interface import WorkerPool
from echod.events import Events
from echod.faults.keys import KEYS
from echod.faults.parsing import FaultErrors, described, is_on, listed, misfits, parse_faults
from echod.faults.scripts import parse_script
from echod.faults.settings import NO_FAULTS, Faults


class FaultyDaemon(Protocol):
    """The part of the daemon that this module uses."""

    events: Events
    reloads: Reloader
    workers: WorkerPool | None

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""

    @property
    def listeners(self) -> list[Listener]:
        """The listeners that accept."""


class FaultControl:
    """The faults of the service `name`."""

    def __init__(self, daemon: FaultyDaemon, name: str) -> None:
        self._daemon = daemon
        self._name = name

    def gather(self, done: Callable[[], None]) -> None:
        """As ServiceFaults."""
        if self._daemon.workers is None:
            done()
        else:
            self._daemon.workers.collect(0).addCallback(lambda _: done())

    def described(self) -> Mapping[str, Any]:
        """The faults, the seed, the step of the script and its faults, the counts, and the keys of each address."""
        ours = self._ours()
        injector = ours[0].running.injector if ours else None
        faults = NO_FAULTS if injector is None else injector.faults
        return {
            "service": self._name,
            "faults": described(faults),
            "seed": None if injector is None else injector.seed,
            "script": None if injector is None or faults.script is None else _script(injector.step, faults),
            "current": {} if injector is None else described(injector.current),
            "injected": injected(ours),
            "addresses": {one.label: [key for key in KEYS if is_on(KEYS[key], _form(one))] for one in ours},
        }

    def change(self, change: FaultChange, done: Callable[[Sequence[str]], None]) -> None:
        """As ServiceFaults. With `clear`, equal faults begin their numbers again: they end first, and then begin."""
        ends_first = False

        def wanted(service: ServiceConfig) -> Faults | None:
            nonlocal ends_first
            faults = self._faults(service, change)
            ends_first = change.clear and not ends_first and faults is not None and faults == service.faults
            return NO_FAULTS if ends_first else faults

        def changed() -> Configuration:
            configuration = self._daemon.configuration
            services = tuple(
                replace(one, faults=wanted(one)) if one.name == self._name else one for one in configuration.services
            )
            return replace(configuration, services=services)

        def tell(errors: Sequence[str]) -> None:
            if ends_first and not errors:
                self._daemon.reloads.change(changed, tell)
                return
            if not errors:
                ours = next((one for one in self._daemon.configuration.services if one.name == self._name), None)
                faults = ours.faults if ours is not None and ours.faults is not None else NO_FAULTS
                self._daemon.events.tell(
                    "faults.changed", service=self._name, faults=listed(faults), by="the administrator"
                )
            done(errors)

        self._daemon.reloads.change(changed, tell)

    def _faults(self, config: ServiceConfig, change: FaultChange) -> Faults | None:
        """The changed faults; None for a service that has none then. Raises ConfigurationRefused."""
        try:
            base = NO_FAULTS if change.clear or config.faults is None else config.faults
            if change.set:  # the steps of a script have the values from before
                base = replace(base, script=None)
            faults = parse_faults(change.set, base)
            if change.script is not None:
                faults = replace(faults, script=parse_script(change.script, replace(faults, script=None)))
            if errors := list(misfits(faults, map(_form, self._ours()))):
                raise FaultErrors(errors)
        except FaultErrors as error:
            raise ConfigurationRefused(78, str(error).splitlines()) from error
        return None if faults == NO_FAULTS else faults

    def _ours(self) -> list[Listener]:
        return [one for one in self._daemon.listeners if one.name == self._name]


def injected(listeners: Sequence[Listener]) -> dict[str, int]:
    """The sums of the injected faults of some listeners, by key."""
    total: Counter[str] = Counter()
    for one in listeners:
        total.update(one.counters.faults)
    return dict(total)


def _form(listener: Listener) -> Any:
    return listener.bound.address.served_form


def _script(step: int, faults: Faults) -> dict[str, int]:
    assert faults.script is not None
    return {"step": step + 1, "steps": len(faults.script.steps)}
