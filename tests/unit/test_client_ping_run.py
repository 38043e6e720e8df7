"""One target of a ping, in a reactor that the test turns."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

from twisted.internet.epollreactor import EPollReactor

from echod.client import ping_run
from echod.client.command_definitions import parser
from echod.client.connect_probe import Connections
from echod.client.ping_output import Silent
from echod.client.ping_run import PingRun
from tests.fastpath.reactors import reactor_of, turn_until

WAIT = 2.0  # seconds


def test_replies_are_read_before_probes_are_lost():
    """The process is stopped for longer than the timeout. The reply arrived in time, as the kernel's time of it shows.

    Then the timers and the reply are due in the same turn of the reactor, which calls timers first. One run ends by its
    count, the other one by its deadline.
    """
    codes: list[int] = []
    runs: list[PingRun] = []
    with reactor_of(EPollReactor) as reactor, ExitStack() as stack:
        for words in (("-c", "1", "-W", "2s"), ("-i", "1m", "-W", "2s", "-w", "3s")):
            peer = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            peer.bind(("127.0.0.1", 0))
            peer.setblocking(False)
            url = f"udp://127.0.0.1:{peer.getsockname()[1]}"
            [arguments] = parser().parse_args(["ping", *words, url]).targets
            arguments.picture = arguments.percentiles = arguments.hmac_key = None
            run = PingRun(reactor, arguments, Silent(), codes.append)
            runs.append(run)
            turn_until(reactor, lambda: runs[-1].figures_so_far()["sent"])
            peer.sendto(*peer.recvfrom(100))
        time.sleep(WAIT + 1.1)
        turn_until(reactor, lambda: len(codes) == len(runs))
        for run in runs:
            found = run.figures()
            run.close()
            assert (found["sent"], found["received"], found["late"]) == (1, 1, 0)
    assert codes == [0, 0]


def test_slow_imports_do_not_count_as_connecting(monkeypatch):
    class Slow(Connections):
        def __init__(self, setup):
            time.sleep(0.2)
            super().__init__(setup)

    monkeypatch.setattr(ping_run, "Connections", Slow)
    with reactor_of(EPollReactor) as reactor, socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        [arguments] = parser().parse_args(["ping", "--connect", "-c", "1", "-W", "100ms", url]).targets
        arguments.picture = arguments.percentiles = arguments.hmac_key = None
        codes: list[int] = []
        run = PingRun(reactor, arguments, Silent(), codes.append)
        turn_until(reactor, lambda: codes)
        assert (run.figures()["sent"], run.failed) == (1, None)
        listening.accept()[0].close()
        turn_until(reactor, lambda: not {*reactor.getReaders()} - {*reactor._internalReaders})
