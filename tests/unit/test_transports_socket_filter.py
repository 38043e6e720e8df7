"""The kernel's filter of a flood: dropped and passed datagrams, and its removal after the flood."""

import socket
from collections import Counter
from unittest import mock

import pytest
from twisted.internet.task import Clock

from echod.events import Counters
from echod.gate.access import Access
from echod.gate.datagrams import DatagramGate
from echod.gate.flood_detector import PORTS, Flood
from echod.gate.limits import Limits
from echod.transports import socket_filter
from echod.transports.socket_filter import EASED, LEAST, NETWORKS, PASS, FloodFilter, attach, program, thinning
from tests.daemon import SECONDS

FLOODING, OTHER = "127.0.9.1", "127.0.8.1"
NETWORK = bytes([127, 0, 9])
NEXT = bytes([127, 0, 8])  #: the network of OTHER
LARGEST = Flood(1e9, 1.0)  #: only LEAST of it passes
LOOPBACK6 = bytes(7)  #: the /56 of ::1


class Pair:
    """A listener, and clients at several hosts."""

    def __init__(self, host: str = "127.0.0.1", *hosts: str) -> None:
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.bound = socket.socket(self.family, socket.SOCK_DGRAM)
        self.bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.bound.bind((host, 0))
        self.bound.settimeout(SECONDS)
        self.clients = {}
        self.refused: list[OSError] = []  # errors of the filter
        for each in hosts:
            self.clients[each] = socket.socket(self.family, socket.SOCK_DGRAM)
            self.clients[each].bind((each, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in (self.bound, *self.clients.values()):
            each.close()

    def send(self, host: str, times: int = 1) -> None:
        for _ in range(times):
            self.clients[host].sendto(host.encode(), self.bound.getsockname()[:2])

    def received(self, last: str) -> Counter[str]:
        """Count the datagrams that passed, by host; `last` is a host that always passes."""
        self.clients[last].sendto(b"last", self.bound.getsockname()[:2])
        came: Counter[str] = Counter()
        while (word := self.bound.recv(100)) != b"last":
            came[word.decode()] += 1
        return came


def passed_of_2000(pair: Pair) -> int:
    """How many of 2,000 datagrams pass, sent in parts that fit a default receive buffer."""
    count = 0
    for _ in range(10):
        pair.send(FLOODING, 200)
        count += pair.received(OTHER)[FLOODING]
    return count


def test_only_the_listed_network_is_dropped():
    with Pair("127.0.0.1", FLOODING, OTHER, "127.0.10.1") as pair:
        attach(pair.bound, thinning({bytes([127, 0, 7]): 0.0, NETWORK: 0.0, bytes([127, 0, 11]): 0.0}) + PASS)
        for host in (FLOODING, OTHER, FLOODING, "127.0.10.1"):
            pair.send(host)
        assert pair.received(OTHER) == {OTHER: 1, "127.0.10.1": 1}
        assert socket_filter.drops(pair.bound) == 2


def test_a_share_of_a_network_passes():
    with Pair("127.0.0.1", FLOODING, OTHER) as pair:
        attach(pair.bound, thinning({NETWORK: 0.25}) + PASS)
        assert 300 < passed_of_2000(pair) < 700  # by chance: ten standard deviations
        attach(pair.bound, thinning({NETWORK: 1.0}) + PASS)
        pair.send(FLOODING, 100)
        assert pair.received(OTHER) == {FLOODING: 100}


@pytest.mark.parametrize(
    ("networks", "dropped"),
    [
        ({LOOPBACK6: 0.0}, True),
        ({bytes(6) + b"\1": 0.0}, False),
        ({b"\1" + bytes(6): 0.0}, False),
        ({NETWORK: 0.0, b"\1" + bytes(6): 0.0, LOOPBACK6: 0.0}, True),
        ({bytes(3): 0.0}, False),
    ],
)
def test_an_ipv6_network_is_dropped(networks, dropped):
    with Pair("::1", "::1") as pair:
        attach(pair.bound, thinning(networks) + PASS)
        pair.send("::1", 3)
        pair.bound.setblocking(False)
        if dropped:
            with pytest.raises(BlockingIOError):
                pair.bound.recv(100)
        assert socket_filter.drops(pair.bound) == (3 if dropped else 0)


def test_networks_and_ports_are_filtered_together():
    with Pair("127.0.0.1", FLOODING, OTHER, "127.0.10.1") as pair:
        port = pair.clients["127.0.10.1"].getsockname()[1]
        attach(pair.bound, thinning({NETWORK: 0.0}) + program({port}, ()))
        for host in (FLOODING, OTHER, "127.0.10.1"):
            pair.send(host)
        assert pair.received(OTHER) == {OTHER: 1}


def test_a_share_of_forbidden_ports_passes():
    with Pair("127.0.0.1", FLOODING, OTHER) as pair:
        attach(pair.bound, program({pair.clients[FLOODING].getsockname()[1]}, (), 0.25))
        assert 300 < passed_of_2000(pair) < 700


def test_the_kernel_accepts_the_largest_program():
    with Pair("127.0.0.1", OTHER) as pair:
        networks = {bytes([10, 0, number]): 0.1 for number in range(NETWORKS // 2)}
        networks |= {bytes([32, 1, 13, 184, 0, 0, number]): 0.1 for number in range(NETWORKS // 2)}
        attach(pair.bound, thinning(networks) + program(range(20_000, 21_000), range(100)))
        pair.send(OTHER)
        assert pair.received(OTHER) == {OTHER: 1}


# Duration of the filter


class Reactor(Clock):
    """Timers that the test advances."""


@pytest.fixture
def guarded():
    """A socket with its gate and filter, the clock of both, and the counters."""
    with Pair("127.0.0.1", FLOODING, OTHER) as pair:
        clock, counters = Reactor(), Counters()
        gate = DatagramGate(Access([]), Limits(), clock.seconds)
        yield pair, gate, FloodFilter(clock, pair.bound, gate, counters, pair.refused.append), clock, counters


@pytest.fixture
def attached():
    """A list of the shares of each filter that is attached."""
    shares: list[dict[bytes, float]] = []

    def thinned(networks: dict[bytes, float]) -> bytes:
        shares.append(dict(networks))
        return b""

    with mock.patch.object(socket_filter, "thinning", thinned):
        yield shares


def test_the_share_falls_while_a_flood_lasts_and_doubles_after_it(guarded, attached):
    _pair, gate, guard, clock, _counters = guarded
    assert not guard.look()
    assert not clock.getDelayedCalls()
    gate.floods.found[NETWORK] = Flood(2_900.0, 100.0)
    assert guard.look(), "a timer was set"
    assert gate.floods.found == {}
    gate.floods.found[NETWORK] = Flood(1_900.0, 100.0)
    assert not guard.look(), "it was set before"
    seen = [2 / 30, 2 / 30 / 10]
    assert [shares[NETWORK] for shares in attached] == pytest.approx(seen)
    while clock.getDelayedCalls():
        assert len(attached) < 20
        clock.advance(EASED)
    seen += [seen[-1] * 2**step for step in range(1, 8)]
    assert [shares[NETWORK] for shares in attached] == pytest.approx(seen)
    assert seen[-1] > 0.5


def test_a_small_share_of_the_largest_flood_passes(guarded, attached):
    _pair, gate, guard, _clock, _counters = guarded
    for _ in range(3):
        gate.floods.found[NETWORK] = LARGEST
        guard.look()
        assert attached[-1] == {NETWORK: LEAST}
    guard.stop()


def test_drops_are_counted_during_the_flood(guarded):
    pair, gate, guard, clock, counters = guarded
    passed = 0
    for step in range(1, 4):
        gate.floods.found[NETWORK] = LARGEST
        guard.look()
        pair.send(FLOODING, 500)
        passed += pair.received(OTHER)[FLOODING]
        clock.advance(EASED)
        assert passed < 50
        assert counters.figures() == {"refused:kernel": 500 * step - passed}
    while clock.getDelayedCalls():
        clock.advance(EASED)
    pair.send(FLOODING, 500)
    assert pair.received(OTHER) == {FLOODING: 500}


def test_several_floods_share_one_filter(guarded):
    pair, gate, guard, clock, counters = guarded
    for what in (NETWORK, PORTS, NEXT):
        gate.floods.found[what] = LARGEST
        guard.look()
    assert len(clock.getDelayedCalls()) == 1
    pair.send(FLOODING, 100)
    pair.send(OTHER, 100)
    guard.stop()
    assert not clock.getDelayedCalls()
    assert counters.figures()["refused:kernel"] > 180


def test_a_flood_found_after_the_stop_sets_no_filter(guarded, attached):
    """A port answers queued datagrams while it stops. A flood among them would leave a timer on a closed socket."""
    _pair, gate, guard, clock, _counters = guarded
    guard.stop()
    gate.floods.found[NETWORK] = LARGEST
    assert not guard.look()
    assert attached == clock.getDelayedCalls() == []


def test_the_number_of_filtered_networks_is_bounded(guarded, attached):
    _pair, gate, guard, _clock, _counters = guarded
    gate.floods.found[NEXT] = LARGEST
    gate.floods.found |= {bytes([10, 0, number]): LARGEST for number in range(NETWORKS)}
    guard.look()
    assert len(attached[-1]) == NETWORKS
    assert NEXT not in attached[-1], "the oldest are dropped"
    guard.stop()


def test_all_datagrams_are_read_if_the_kernel_refuses_the_filter(guarded):
    pair, gate, guard, clock, _counters = guarded
    gate.floods.found[NETWORK] = LARGEST
    with mock.patch.object(socket_filter, "attach", side_effect=OSError(12, "no memory")):
        guard.look()
    assert [error.errno for error in pair.refused] == [12]
    assert not clock.getDelayedCalls()
    pair.send(FLOODING)
    assert pair.received(OTHER) == {FLOODING: 1}
