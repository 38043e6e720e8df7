"""Listeners that no longer accept: kept until the last of their conversations ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred

from echod.daemon.listener import Listener


class DrainingListeners:
    """Listeners whose socket was closed or handed over by a reload, until their last conversation ends."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ending: dict[Listener, Deferred[None] | None] = {}  # fires when it is drained; None: not draining yet

    def __iter__(self) -> Iterator[Listener]:
        return iter(tuple(self._ending))

    def add(self, listener: Listener) -> None:
        """Keep a listener that has stopped listening, if it has connections."""
        if listener.factory is not None and (listener.factory.conversations or listener.factory.entrances):
            self._ending[listener] = None

    def sweep(self, listening: Iterable[Listener], seconds: float) -> None:
        """Drain, for at most `seconds`, each listener whose service is no longer served at its address."""
        belongs = {one.serves for one in listening}
        for listener in self:
            factory = listener.factory
            if factory is None or not (factory.conversations or factory.entrances):
                del self._ending[listener]
            elif self._ending[listener] is None and listener.serves not in belongs:
                deadline = self._reactor.callLater(seconds, factory.abandon)
                self._ending[listener] = factory.drain(seconds).addCallback(_cancel, deadline)

    def drain(self, seconds: float) -> list[Deferred[None]]:
        """Drain all of them, as ServiceFactory.drain; those that are draining keep their deadline."""
        return [
            drained or listener.factory.drain(seconds)
            for listener, drained in self._ending.items()
            if listener.factory is not None
        ]


def _cancel(_: None, deadline: Any) -> None:
    if deadline.active():
        deadline.cancel()
