"""Checks after each test that trial makes and pytest-twisted does not: the reactor and the log are clean."""

from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

from tests.fastpath.reactors import Failures

TURNS = 3000  # of 10 ms, at most, for the other end of a connection to see the close


def pending() -> set[object]:
    """The calls and descriptors that the reactor still has."""
    return {*reactor.getDelayedCalls(), *reactor.getReaders(), *reactor.getWriters()}


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[Failures]:
    """The failures logged during the test. A test that expects one removes it; at the end the list must be empty."""
    failures = Failures()
    pytest_twisted.blockon(deferLater(reactor, 0))  # the running reactor has added its own readers
    before = pending()
    globalLogPublisher.addObserver(failures)
    yield failures
    for _ in range(TURNS):
        if pending() <= before:
            break
        pytest_twisted.blockon(deferLater(reactor, 0.01))
    globalLogPublisher.removeObserver(failures)
    assert [event["log_failure"].getTraceback() for event in failures] == []
    assert pending() - before == set()
