"""Many connections at once, and many that are reset at once: tests 14 and 21 of docs/PROMISES.md."""

from tests.chaos.connect_burst import Crowd, Fate, reset_at_once, served
from tests.chaos.faults import connections, descriptors
from tests.daemon import SECONDS, Daemon, eventually
from tests.gate.configurations import configuration, counted, refused, stream

CLIENTS = 2_000
MIDWAY = 300


def test_bursts(way):
    plane, kind = way
    with Daemon(configuration(plane, stream(kind, f"per-client = {3 * CLIENTS}"))) as daemon:
        place = daemon.inet("stream", "tcp")
        assert served(place)
        assert eventually(lambda: not connections(daemon.process.pid, place))
        before, lines = len(descriptors(daemon.process.pid)), len(daemon.stderr.raw)
        with Crowd(place, CLIENTS) as crowd:
            assert crowd.wait(SECONDS) == {Fate.SERVED: CLIENTS}
        reset_at_once(place, CLIENTS)
        with Crowd(place, MIDWAY) as crowd:
            assert crowd.wait(SECONDS) == {Fate.SERVED: MIDWAY}
            crowd.close(crowd.callers, reset=True)
        assert served(place)
        assert eventually(lambda: len(descriptors(daemon.process.pid)) <= before)
        assert len(daemon.stderr.raw) == lines, "a connection logged a line"
        figures = counted(daemon, "stream", "tcp")
        everybody = 2 * CLIENTS + MIDWAY + 2
        assert figures["accepted"] == everybody
        assert sum(count for name, count in figures.items() if name.startswith("closed:")) == everybody
        assert not refused(figures)
        assert "open" not in figures
