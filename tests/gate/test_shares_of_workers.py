"""The shares of a client and of a network with two workers: the bounds that docs/CONFIG.md states."""

import socket
from contextlib import ExitStack

import pytest

from tests.chaos.connect_burst import Crowd, Fate
from tests.daemon import SECONDS, Daemon
from tests.gate.configurations import asking, configuration, counted, refused, stream

ONE, OTHER = "127.0.0.9", "127.0.1.9"
WORKERS, FLOWS, BURST = 2, 48, 100
EACH = 8  # datagrams of a flow: with more, a filter of the kernel drops some


def with_workers(plane: str, *services: str) -> str:
    return configuration(plane, *services).replace("[daemon]", f"[daemon]\nworkers = {WORKERS}", 1)


def test_a_network_gets_one_reply_for_a_request_and_one_burst_of_each_worker(plane):
    """Its flows reach both workers: that one gets all of 48 flows has a probability of 2**-47."""
    services = [
        f'{name}]\nkind = "echo"\nlisten = ["udp://127.0.0.1:0"]\nlimits = {{ rate = "{rate}" }}'
        for name, rate in (("scarce", f"0.001/{BURST}"), ("plenty", "100000/100000"))
    ]
    with ExitStack() as stack, Daemon(with_workers(plane, *services)) as daemon:
        places = [daemon.inet(name, "udp") for name in ("scarce", "plenty")]
        flows = [[stack.enter_context(asking(daemon, "127.0.7.77")) for _ in range(FLOWS)] for _ in places]
        for number in range(EACH):
            for ours, place in zip(flows, places, strict=True):
                for flow in ours:
                    flow.sendto(b"request %d" % number, place)
            for flow in flows[1]:  # one reply, and the workers keep up
                assert flow.recv(100) == b"request %d" % number
        # Another network. Its flows reach both workers as well, and are served after the others: queues are in order.
        for _ in range(FLOWS):
            with asking(daemon, "127.0.9.9") as neighbour:
                neighbour.sendto(b"another network", places[0])
                assert neighbour.recv(100) == b"another network"
        figures = counted(daemon, "scarce", "udp")
        replies = sum(map(received, flows[0]))
        assert not any(map(received, flows[1]))
    assert BURST <= replies <= WORKERS * BURST
    assert figures["datagrams_in"] == FLOWS * EACH + FLOWS
    assert figures["datagrams_out"] == replies + FLOWS
    assert sum(refused(figures).values()) == FLOWS * EACH - replies
    assert figures["bytes_out"] <= figures["bytes_in"]


def received(flow: socket.socket) -> int:
    """The replies that have arrived."""
    flow.setblocking(False)
    count = 0
    try:
        while flow.recv(100):
            count += 1
    except BlockingIOError:
        return count
    return count


@pytest.mark.slow
def test_connections_of_a_client_and_new_ones_are_limited_over_both_workers(way):
    plane, kind = way
    services = [
        stream(kind, "per-client = 20", name="at-once"),
        stream(kind, 'new-per-client = "0.001/20"', name="new"),
    ]
    with Daemon(with_workers(plane, *services)) as daemon:
        served = {}
        for name, most in (("at-once", 20 + WORKERS - 1), ("new", 20 * WORKERS)):
            place = daemon.inet(name, "tcp")
            with Crowd(place, 100, [ONE]) as crowd, Crowd(place, 10, [OTHER]) as others:
                fates = crowd.wait(SECONDS)
                assert others.wait(SECONDS) == {Fate.SERVED: 10}
            served[name] = fates[Fate.SERVED]
            assert 20 <= served[name] <= most
            assert fates[Fate.RESET] == 100 - served[name]
        figures = counted(daemon, "new", "tcp")
        assert (figures["accepted"], refused(figures)) == (served["new"] + 10, {"new-per-client": 100 - served["new"]})
