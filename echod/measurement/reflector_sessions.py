"""The sessions of a stateful reflector: how many packets each sender has sent and been sent (RFC 8762 4.3)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

REFWAIT: Final = 900.0  #: seconds without a packet after which a session ends (RFC 5357 4.2)


class SessionCounters:
    """The counters of one session. The reflector has as many replies as requests, so one number serves both."""

    __slots__ = ("last", "received")

    def __init__(self) -> None:
        self.received = 0
        self.last = 0.0


class ReflectorSessions:
    """Counters of at most `most` sessions. The session that has been silent for longest gives way to a new one."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._sessions: OrderedDict[Hashable, SessionCounters] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def receive(self, key: Hashable) -> int:
        """Count a packet of a session. Returns the number of its packets before this one."""
        now = self._clock()
        session = self._sessions.get(key)
        if session is None or now - session.last > REFWAIT:
            session = self._sessions[key] = SessionCounters()
            if len(self._sessions) > self._most:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(key)
        session.last = now
        session.received += 1
        return session.received - 1

    def take_over_from(self, predecessor: ReflectorSessions) -> None:
        """Continue the sessions of another instance, the most recent ones if there are too many."""
        self._sessions = OrderedDict(list(predecessor._sessions.items())[-self._most :])
