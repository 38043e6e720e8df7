"""A short version of `make soak` at every commit: only the counts, not the times."""

from __future__ import annotations

import re
from http.client import HTTPConnection

import pytest

from tests.daemon import SECONDS, Daemon, eventually
from tests.fastpath.clients import held
from tests.fastpath.listener import needs_the_native_loop
from tests.soak import objects
from tests.soak.load import MIX, Cycles, Datagrams, Way
from tests.soak.meter import PER, Course, Sample, slope
from tests.soak.run import IN_ALL, SERVICES, TLS_SERVICES, main, parse
from tests.soak.tls_load import MIX as TLS_MIX
from tests.soak.tls_load import TlsCycles, TlsWay

pytestmark = pytest.mark.xdist_group("cpu")  # each uses a whole processor: never two at a time

CONNECTIONS = 10_000
TLS_CONNECTIONS = 300
DATAGRAMS = 50_000
ADMIN = '[admin]\nlisten = ["tcp://127.0.0.1:0"]\n'


@pytest.fixture(params=["auto", "off"], ids=lambda plane: f"plane-{plane}")
def daemon(request):
    config = f'[daemon]\nplane = "{request.param}"\n[defaults.limits]\nbuffer = "16KiB"\n{SERVICES}{ADMIN}'
    with Daemon(config) as started:
        yield started
        started.check()


@pytest.mark.slow
def test_closed_connections_leave_no_resources(daemon):
    clients, pid = Cycles(daemon.inet("echo", "tcp"), ours=True), daemon.process.pid
    without_clients = held(pid)["socket"]
    while clients.count < 1_000:
        clients.batch()
    assert eventually(lambda: held(pid)["socket"] == without_clients)
    course = Course(pid)
    course.look(0)
    before = held(pid)
    while clients.count < CONNECTIONS:
        clients.batch()
    course.look(clients.count)
    assert eventually(lambda: held(pid) <= before)  # the last ones are still being closed
    assert course.grown <= IN_ALL
    assert set(clients.done) == set(Way)
    assert unsent(daemon) == 0
    counted = next(one for name, one in daemon.counters().items() if name.startswith("echo tcp"))
    assert counted["refused:denied"] == clients.done[Way.REFUSED] > CONNECTIONS / len(MIX) - 64
    served = clients.count - clients.done[Way.REFUSED]
    assert counted["accepted"] == served
    assert sum(count for name, count in counted.items() if name.startswith("closed:")) == served
    assert set(counted) <= {"accepted", "bytes_in", "bytes_out", "refused:denied", "closed:done", "closed:lost"}


@pytest.mark.slow
@pytest.mark.parametrize("plane", ["auto", "off"])
def test_closed_tls_connections_leave_no_resources(plane):
    with Daemon(f'[daemon]\nplane = "{plane}"\n{TLS_SERVICES}') as daemon:
        clients, pid = TlsCycles(daemon.inet("echo", "tls")), daemon.process.pid
        course = Course(pid)
        while clients.count < 10 * len(TLS_MIX):
            clients.batch()
        course.look(clients.count)
        before = held(pid)
        while clients.count < TLS_CONNECTIONS:
            clients.batch()
        course.look(clients.count)
        assert eventually(lambda: held(pid) <= before)  # the last ones are still being closed
        assert course.grown <= IN_ALL
        assert set(clients.done) == set(TlsWay)
        daemon.check()
        [counted] = [one for name, one in daemon.counters().items() if name.startswith("echo tls")]
        assert counted["accepted"] == clients.count
        assert counted["closed:protocol"] == clients.done[TlsWay.DAMAGED]
        assert sum(count for name, count in counted.items() if name.startswith("closed:")) == clients.count


@pytest.mark.slow
def test_datagrams_leave_no_resources(daemon):
    sources, pid = Datagrams(daemon.inet("echo", "udp"), ours=True), daemon.process.pid
    sources.batch()
    before, course = held(pid), Course(pid)
    course.look(0)
    while sources.sent < DATAGRAMS:
        sources.batch()
    course.look(sources.sent)
    sources.close()
    assert eventually(lambda: held(pid) <= before)  # the last ones are still being closed
    assert course.grown <= IN_ALL
    counted = next(one for name, one in daemon.counters().items() if name.startswith("echo udp"))
    assert counted["datagrams_out"] >= sources.answered
    assert counted["datagrams_in"] + counted.get("refused:kernel", 0) == sources.sent
    assert counted["refused:denied"] <= sources.refused


def unsent(daemon):
    """The bytes that wait for all connections together, as the daemon counts them: 0 when all are closed."""
    host, port = daemon.inet("admin", "tcp")
    client = HTTPConnection(host, port, timeout=SECONDS)
    client.request("GET", "/metrics")
    said = client.getresponse().read().decode()
    client.close()
    (figure,) = re.findall(r"^echod_unsent_bytes (\S+)$", said, re.MULTILINE)
    return float(figure)


@pytest.mark.slow
@pytest.mark.parametrize("way", [*objects.WAYS, pytest.param("native", marks=needs_the_native_loop)])
def test_python_keeps_no_object_of_a_connection(way):
    assert {name: count for name, count in objects.growth(way, 500).items() if count > 5} == {}


def test_a_leak_has_a_slope():
    assert slope([(at, 7.0) for at in range(0, 100, 10)]) == 0
    assert slope([(at, 3.0 * at + 5) for at in range(0, 100, 10)]) == pytest.approx(3)
    assert slope([(5, 1.0)]) == slope([]) == 0
    course = Course(0)
    for at in range(0, 100_000, 2_000):
        course.samples.append(sample(at, resident=(1 << 24) + (0 if at < 20_000 else at)))
    assert course.slope == pytest.approx(PER)
    assert course.grown_late == 98_000 - 20_000


def sample(at, resident):
    return Sample(at, resident, resident, 1, 1, 1, 0)


def test_the_command_line(capsys, monkeypatch):
    monkeypatch.setattr("tests.soak.run.LOOKS", 4)  # each waits until the closed connections are gone
    assert parse(["--cycles", "7"]).cycles == 7
    assert main(["--cycles", "2000", "--tls", "0", "--datagrams", "0", "--objects", "0", "--only", "echod"]) in (0, 1)
    said = capsys.readouterr().out
    assert "46  2,000 connections opened and closed\n    promise  memory grows" in said
    assert "    verdict  " in said
    with pytest.raises(SystemExit):
        parse(["--only", "unknown"])
