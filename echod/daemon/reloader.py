"""Performs reloads, one after another: a thread reads the configuration, and the reactor's thread applies it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred

from echod.admin.resources import ReloadResult
from echod.config.settings import Configuration
from echod.daemon.config_diff import ConfigurationRefused, explained
from echod.daemon.in_thread import begin
from echod.events import Events
from echod.telemetry.log import Log
from echod.telemetry.threads import NoThread

SWITCH: Final = 0.0001
"""Seconds that the reading thread may hold the interpreter before the reactor's thread runs. With Python's default of
5 ms, each system call of the reactor would wait that long, and one message takes two or three calls."""

MOST: Final = 20  #: changes in one log line

Done = Callable[[ReloadResult], None]
Errors = Callable[[Sequence[str]], None]
Read = tuple[Configuration, Iterable[str]]
"""A configuration, and its warnings, a line each."""


class ReloadingDaemon(Protocol):
    """The part of the daemon that a reload uses."""

    begun_with: Configuration
    events: Events
    log: Log

    @property
    def running(self) -> Any:
        """Whether the daemon has started and is not stopping."""

    async def exchange(self, configuration: Configuration) -> ReloadResult:
        """Serve another configuration. Raises ConfigurationRefused; nothing has changed then."""

    def reopen_logs(self) -> None:
        """Open the log files again."""


class Reloader:
    """The queue of reloads. Requests that arrive while a configuration is read share the next reload.

    `read` raises ConfigurationRefused.
    """

    def __init__(self, daemon: ReloadingDaemon, reactor: Any, read: Callable[[], Read]) -> None:
        self.counts = {"kept": 0, "refused": 0}
        self.last: ReloadResult | None = None
        self._daemon = daemon
        self._reactor = reactor
        self._read = read
        self._waiting: list[Done] = []
        self._changes: list[tuple[Callable[[], Configuration], Errors]] = []
        self._reading = False

    def ask(self, done: Done, by: str) -> None:
        """Reload; `by` is the source of the request, and `done` is called with the result."""
        self._waiting.append(done)
        if not self._reading:
            self._begin(by)

    def change(self, make: Callable[[], Configuration], done: Errors) -> None:
        """Serve the configuration that `make` returns, when no reload is being carried out.

        `make` may raise ConfigurationRefused. `done` is called with the errors. After an error nothing has changed.
        """
        self._changes.append((make, done))
        if not self._reading:
            self._begin_change()

    def _begin_change(self) -> None:
        make, done = self._changes.pop(0)
        self._reading = True

        async def carry_out() -> None:
            errors: Sequence[str] = ()
            try:
                await self._daemon.exchange(make())
            except ConfigurationRefused as error:
                errors = error.lines
            except Exception as error:  # a bug; the services continue
                errors = (f"{type(error).__name__}: {error}",)
                self._daemon.log.say("error", f"internal error in a change of the configuration: {errors[0]}")
            finally:
                self._reading = False
            done(errors)
            self._next("SIGHUP")

        Deferred.fromCoroutine(carry_out())

    def _next(self, by: str) -> None:
        """Begin what was asked for meanwhile."""
        if self._daemon.running and not self._reading:
            if self._changes:
                self._begin_change()
            elif self._waiting:
                self._begin(by)

    def _begin(self, by: str) -> None:
        waiting, self._waiting, self._reading = self._waiting, [], True
        daemon = self._daemon
        daemon.events.tell("daemon.reloading", by=by)
        daemon.reopen_logs()

        async def carry_out(outcome: Read | BaseException) -> None:
            try:
                result = await self._result_of(outcome)
            finally:
                self._reading = False
            for done in waiting:
                done(result)
            self._next(by)

        def decided(outcome: Read | BaseException) -> None:
            sys.setswitchinterval(usual)
            Deferred.fromCoroutine(carry_out(outcome))

        usual = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        try:  # not in a thread of the reactor's pool: a stop would wait for it
            begin(self._read, lambda outcome: self._reactor.callFromThread(decided, outcome))
        except NoThread as error:
            self._reactor.callLater(0, decided, ConfigurationRefused(71, [str(error)]))

    async def _result_of(self, outcome: Read | BaseException) -> ReloadResult:
        """Serve the configuration that was read; the result, with errors if it was refused."""
        daemon = self._daemon
        try:
            if isinstance(outcome, BaseException):
                raise outcome
            if not daemon.running:
                raise ConfigurationRefused(0, ["the daemon is stopping"])
            configuration, notes = outcome
            result = await daemon.exchange(configuration)
            result = replace(result, notes=(*notes, *result.notes))
        except ConfigurationRefused as error:
            result = ReloadResult(errors=explained(error.lines, confined=daemon.begun_with.daemon.landlock))
        except Exception as error:  # a bug; the services continue
            daemon.log.say("error", f"internal error in a reload: {type(error).__name__}: {error}")
            result = ReloadResult(errors=(f"{type(error).__name__}: {error}",))
        self.last = result
        self.counts["refused" if result.errors else "kept"] += 1
        if result.errors:
            daemon.events.tell("daemon.refused", errors="; ".join(result.errors))
        else:
            numbers = {"opened": result.opened, "closed": result.closed, "changed": result.changed}
            daemon.events.tell("daemon.reloaded", **numbers, changes=_in_short(result.changes))
        for note in result.notes:
            daemon.log.say("warn", note)
        return result


def _in_short(changes: Sequence[str]) -> str:
    """The changes as one log line."""
    more = [f"and {len(changes) - MOST} more"] if len(changes) > MOST else []
    return "; ".join([*changes[:MOST], *more]) or "nothing"
