"""Many connections at once, and many that are reset at once: tests 14 and 21 of docs/PROMISES.md."""

import pytest

from tests.chaos.crowd import Crowd, Fate, reset_at_once, served
from tests.chaos.faults import connections, descriptors
from tests.daemon import SECONDS, Daemon, eventually
from tests.gate.room import configuration, counted, refused

CLIENTS = 2_000


@pytest.mark.parametrize("kind", ["echo", "upper", "ack"])
def test_a_burst_of_connects(plane, kind):
    limits = f"limits = {{ per-client = {CLIENTS} }}"
    show = 'show = "no"' if kind == "ack" else ""
    with Daemon(configuration(plane, f'{kind}]\nlisten = ["tcp://127.0.0.1:0"]\n{limits}\n{show}')) as daemon:
        with Crowd(daemon.inet(kind, "tcp"), CLIENTS) as crowd:
            assert crowd.wait(SECONDS) == {Fate.SERVED: CLIENTS}
        figures = counted(daemon, kind, "tcp")
        assert figures["accepted"] == CLIENTS
        assert not refused(figures)


@pytest.mark.parametrize("kind", ["echo", "upper", "ack"])
def test_connections_that_are_reset_at_once(plane, kind):
    with Daemon(configuration(plane, f'{kind}]\nlisten = ["tcp://127.0.0.1:0"]')) as daemon:
        place = daemon.inet(kind, "tcp")
        assert served(place)
        assert eventually(lambda: not connections(daemon.process.pid, place))
        before, lines = len(descriptors(daemon.process.pid)), len(daemon.stderr.raw)
        reset_at_once(place, CLIENTS)
        with Crowd(place, 300) as crowd:  # with something under way, in both directions
            assert crowd.wait(SECONDS) == {Fate.SERVED: 300}
            crowd.close(crowd.callers, reset=True)
        assert served(place)
        assert eventually(lambda: len(descriptors(daemon.process.pid)) <= before)
        assert len(daemon.stderr.raw) == lines
        figures = counted(daemon, kind, "tcp")
        assert figures["accepted"] == CLIENTS + 302
        assert sum(count for name, count in figures.items() if name.startswith("closed:")) == CLIENTS + 302
        assert "open" not in figures
