"""Separate reactors beside the installed one: the test turns them, and closes them at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from tests.daemon import SECONDS

REACTORS: Final = (EPollReactor, PollReactor, SelectReactor)


@contextmanager
def reactor_of(kind: type[Any]) -> Iterator[Any]:
    """A reactor whose clock does not step back, as makeService installs it."""
    reactor = kind()
    reactor.seconds = monotonic
    try:
        yield reactor
    finally:
        for call in reactor.getDelayedCalls():
            call.cancel()
        reactor.removeAll()
        for reader in list(reactor._internalReaders):
            reactor.removeReader(reader)
            reader.connectionLost(None)
        if kind is EPollReactor:
            reactor._poller.close()


def turn_until(reactor: Any, what: Callable[[], object]) -> None:
    """Turn the reactor until the condition is true; fails if it does not become true."""
    ends = monotonic() + SECONDS
    while not what():
        assert monotonic() < ends, "the condition did not become true"
        reactor.iterate(0.001)


@implementer(ILogObserver)
class Failures(list[LogEvent]):
    """Every logged failure.

    A publisher adds and removes observers by equality. Two empty lists are equal, so an observer of another test would
    count as this one. Therefore each of these is equal only to itself.
    """

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:  # type: ignore[override]  # a list has no hash
        return id(self)

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.append(event)


@contextmanager
def failures() -> Iterator[Failures]:
    """The failures that are logged during the block."""
    found = Failures()
    globalLogPublisher.addObserver(found)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(found)
