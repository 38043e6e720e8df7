"""What trial looks at behind each test and pytest-twisted does not: what is left in the reactor, and the log."""

from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

from tests.fastpath.reactors import Failures

TURNS = 50  # of 10 ms, for the other end of a connection to see that this one has gone


def pending() -> set[object]:
    """What the reactor still has to do or to look at."""
    return {*reactor.getDelayedCalls(), *reactor.getReaders(), *reactor.getWriters()}


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[Failures]:
    """The failures logged during the test. In the end there must be none: who expects one takes it out."""
    failures = Failures()
    pytest_twisted.blockon(deferLater(reactor, 0))  # the reactor has its own readers once it runs
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
