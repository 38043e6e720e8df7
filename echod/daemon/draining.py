"""Listeners that are no more, and whose conversations go on: for as long as they belong to what is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred

from echod.daemon.listener import Listener


class Leaving:
    """Whose socket another port has taken, or nobody has any more, until the last of their conversations is over."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ending: dict[Listener, Deferred[None] | None] = {}  # what fires at their end, once they shall end

    def __iter__(self) -> Iterator[Listener]:
        return iter(tuple(self._ending))

    def add(self, listener: Listener) -> None:
        """It does not listen any more."""
        if listener.factory is not None and listener.factory.conversations:
            self._ending[listener] = None

    def look(self, listening: Iterable[Listener], seconds: float) -> None:
        """Let those end, in so many seconds at most, whose service is not served at their address any more."""
        belongs = {one.serves for one in listening}
        for listener in self:
            factory = listener.factory
            if factory is None or not factory.conversations:
                del self._ending[listener]
            elif self._ending[listener] is None and listener.serves not in belongs:
                deadline = self._reactor.callLater(seconds, factory.abandon)
                self._ending[listener] = factory.drain(seconds).addCallback(_cancel, deadline)

    def drain(self, seconds: float) -> list[Deferred[None]]:
        """Let all of them end, as ServiceFactory.drain; those that end already do so in their own time."""
        return [
            drained or listener.factory.drain(seconds)
            for listener, drained in self._ending.items()
            if listener.factory is not None
        ]


def _cancel(_: None, deadline: Any) -> None:
    if deadline.active():
        deadline.cancel()
