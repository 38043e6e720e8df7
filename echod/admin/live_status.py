"""The status of the daemon once a second, for the pages that are open: one snapshot for all of them.

A page gets a whole status first, and then only the changes. If it reads too slowly, the changes are not queued:
they are dropped, and it gets a whole status again. While no page is open, no snapshot is made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from echod.gate.work_budget import UNIT_BYTES
from echod.model import Context

EVERY: Final = 1.0  #: minimum seconds between two snapshots
SHARE: Final = 20
"""A snapshot is made after at least so many times the duration of the last one. With very many connections that takes
long, and is then at most a twentieth of the time."""
STEP: Final = 32  #: units of the work budget of each step: one service, or the counters of some connections


class Viewed(Protocol):
    """The part of the View that a snapshot needs."""

    def gather(self, connections: int, done: Callable[[], None]) -> None:
        """As View."""

    def flush_counters(self) -> Iterator[None]:
        """As View."""

    def status(self) -> Mapping[str, Any]:
        """As View."""


class LiveStatus:
    """Makes the snapshots. `context` has the clock, the timers and the work budget."""

    def __init__(self, view: Viewed, context: Context) -> None:
        self._view = view
        self._context = context
        self._followers: dict[StatusFollower, None] = {}
        self._running = False  # whether a snapshot is being made, or a timer is set
        self._steps: Iterator[None] = iter(())
        self._began = 0.0
        self._snapshot: dict[str, Any] = {}
        self.whole = b""  #: the last snapshot, as a message of the stream
        self.changes = b""  #: the changes since the one before

    def follow(self, wake: Callable[[], None]) -> StatusFollower:
        """A follower that calls `wake` when it has a message to take."""
        follower = StatusFollower(self, wake)
        self._followers[follower] = None
        if self._snapshot:
            follower.renew()
        if not self._running:
            self._running = True
            self._begin()
        return follower

    def unfollow(self, follower: StatusFollower) -> None:
        """End a `follow`."""
        self._followers.pop(follower, None)

    def _begin(self) -> None:
        if not self._followers:
            self._running = False
            self._snapshot = {}
            return
        self._began = self._context.clock()
        self._view.gather(0, self._gathered)

    def _gathered(self) -> None:
        self._steps = self._make()
        self._step()

    def _step(self) -> None:
        """Continue in this turn while it has units of work, then in another one."""
        work = self._context.work
        for _ in self._steps:
            if work.is_used_up:
                work.wait(self._step, "status")
                return
        for follower in tuple(self._followers):
            follower.renew()
        seconds = max(EVERY, SHARE * (self._context.clock() - self._began))
        self._context.later(seconds, self._begin)

    def _make(self) -> Iterator[None]:
        """Make a snapshot, its message, and the message with the changes."""
        spend = self._context.work.spend
        for _ in self._view.flush_counters():
            spend(STEP)
            yield
        new: dict[str, Any] = {}
        parts: list[str] = []
        for name, value in self._view.status().items():
            if not isinstance(value, Iterator):
                new[name] = value
                parts.append(f"{json.dumps(name)}: {json.dumps(value)}")
                continue
            new[name], items = [], []
            for one in value:
                new[name].append(one)
                items.append(json.dumps(one))
                spend(STEP + len(items[-1]) // UNIT_BYTES)
                yield
            parts.append(f"{json.dumps(name)}: [{', '.join(items)}]")
        old, self._snapshot = self._snapshot, new
        self.whole = _message("status", f"{{{', '.join(parts)}}}")
        changed = changes(old, new)
        self.changes = self.whole if changed is None else _message("changes", json.dumps(changed))


class StatusFollower:
    """One page: it takes the newest message only."""

    def __init__(self, live: LiveStatus, wake: Callable[[], None]) -> None:
        self._live = live
        self._wake = wake
        self._waiting = False  # whether there is a message that it has not taken
        self._behind = True  # whether it has not got every change

    def renew(self) -> None:
        """There is another snapshot."""
        self._behind = self._behind or self._waiting
        self._waiting = True
        self._wake()

    def take(self) -> bytes:
        """The message to send now, or nothing."""
        if not self._waiting:
            return b""
        message = self._live.whole if self._behind else self._live.changes
        self._waiting = self._behind = False
        return message

    def close(self) -> None:
        """The page is gone."""
        self._live.unfollow(self)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """The changed `members` of the status, of `services` by index, and of their `listeners` by index.

    Returns None if other services, or other addresses, are served: then the whole status is needed.
    """
    if not old or _structure(old) != _structure(new):
        return None
    members = {name: value for name, value in new.items() if name != "services" and old[name] != value}
    services: dict[str, Any] = {}
    listeners: dict[str, dict[str, Any]] = {}
    for at, (before, after) in enumerate(zip(old["services"], new["services"], strict=True)):
        if found := {key: value for key, value in after.items() if key != "listeners" and before[key] != value}:
            services[str(at)] = found
        pairs = zip(before["listeners"], after["listeners"], strict=True)
        changed = {
            str(index): {key: value for key, value in listener.items() if was[key] != value}
            for index, (was, listener) in enumerate(pairs)
            if was != listener
        }
        if changed:
            listeners[str(at)] = changed
    return {"members": members, "services": services, "listeners": listeners}


def _structure(status: Mapping[str, Any]) -> Any:
    """The names of everything in a status."""
    services = [
        (service["name"], list(service), [(one["address"], list(one)) for one in service["listeners"]])
        for service in status["services"]
    ]
    return list(status), services


def _message(kind: str, data: str) -> bytes:
    return f"event: {kind}\ndata: {data}\n\n".encode()
