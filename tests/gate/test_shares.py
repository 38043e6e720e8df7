"""The shares of a client, a network and a service, and that others keep theirs: tests 5 and 40 of docs/PROMISES.md."""

import re
import socket
from functools import partial

import pytest

from tests.chaos.connect_burst import Crowd, Fate
from tests.chaos.faults import connections
from tests.chaos.network import CLIENT4, CLIENT6, LINK, SERVER4, SERVER6
from tests.chaos.spoofed_packets import HIGH, Spoofer
from tests.daemon import SECONDS, Daemon, eventually
from tests.gate.configurations import asked, asking, configuration, counted, heard, received, refused, settled, stream

ONE, OTHER = "127.0.0.9", "127.0.1.9"
ROOM, NAT = 100, 500  #: connections at once; clients behind one address


def fates(served: int, reset: int) -> dict[Fate, int]:
    return {fate: count for fate, count in ((Fate.SERVED, served), (Fate.RESET, reset)) if count}


def holds(pid: int, place: tuple[str, int], count: int) -> bool:
    return connections(pid, place) == count


def test_exactly_the_allowed_number_is_served_at_once(way):
    """Exactly as many are served, the others are reset at once, and each close admits exactly one more."""
    plane, kind = way
    limits = {"connections": [ONE, OTHER], "per-client": [ONE]}
    services = [stream(kind, f"{limit} = {ROOM}", name=limit) for limit in limits]
    with Daemon(configuration(plane, *services)) as daemon:
        lines, pid = len(daemon.stderr.raw), daemon.process.pid
        for limit, hosts in limits.items():
            place = daemon.inet(limit, "tcp")
            for_others = 0 if limit == "connections" else ROOM
            with Crowd(place, NAT, hosts) as crowd:
                assert crowd.wait(SECONDS) == fates(ROOM, NAT - ROOM)
                with Crowd(place, ROOM, [OTHER]) as others:
                    assert others.wait(SECONDS) == fates(for_others, ROOM - for_others)
                leaving = crowd.those(Fate.SERVED)[:30]
                crowd.close(leaving[::2])
                crowd.close(leaving[1::2], reset=True)
                assert eventually(partial(holds, pid, place, ROOM - 30))
                with Crowd(place, ROOM, hosts) as later:
                    assert later.wait(SECONDS) == fates(30, ROOM - 30)
            assert eventually(partial(holds, pid, place, 0))
            with Crowd(place, ROOM, hosts) as last:
                assert last.wait(SECONDS) == fates(ROOM, 0)
        new = [line for line in daemon.stderr.text[lines:] if not re.search(r" warn  \S+: refused \d+, because", line)]
        assert not new, "a refusal logged a line"  # but a report of all refusals, once in a while
        for limit in limits:
            figures = counted(daemon, limit, "tcp")
            for_others = 0 if limit == "connections" else ROOM
            assert figures["accepted"] == ROOM + for_others + 30 + ROOM
            assert refused(figures) == {limit: NAT - ROOM + ROOM - for_others + ROOM - 30}
            assert "open" not in figures


def test_exactly_the_allowed_number_of_new_connections_is_served(way):
    """A burst is served, connections beyond it are reset, and other clients have their own burst."""
    plane, kind = way
    with Daemon(configuration(plane, stream(kind, 'new-per-client = "0.001/20"'))) as daemon:
        place = daemon.inet("stream", "tcp")
        with Crowd(place, 100, [ONE]) as crowd:
            assert crowd.wait(SECONDS) == fates(20, 80)
        with Crowd(place, 10, [ONE]) as crowd:
            assert crowd.wait(SECONDS) == fates(0, 10), "a close must not refill the rate"
        with Crowd(place, 30, [OTHER]) as crowd:
            assert crowd.wait(SECONDS) == fates(20, 10)
        figures = counted(daemon, "stream", "tcp")
        assert figures["accepted"] == 40
        assert refused(figures) == {"new-per-client": 100}


@pytest.mark.needs_root
def test_a_64_is_one_client_over_ipv6(two, plane):
    """A /64 is one client: a host may use as many addresses as it likes in its own /64."""
    two.client.add("fd00:99::3/64", "fd00:99:0:1::1/64", device=LINK)
    two.server.ip("-6", "route", "add", "fd00:99:0:1::/64", "via", CLIENT6)
    service = stream("echo", "per-client = 10", f"[{SERVER6}]", 'allow = ["fd00:99::/32"]')
    with Daemon(configuration(plane, service)) as daemon, two.client.inside():
        place = daemon.inet("stream", "tcp")
        with Crowd(place, 30, [CLIENT6, "fd00:99::3"]) as crowd, Crowd(place, 15, ["fd00:99:0:1::1"]) as others:
            assert crowd.wait(SECONDS) == fates(10, 20)
            assert others.wait(SECONDS) == fates(10, 5)
        assert refused(counted(daemon, "stream", "tcp")) == {"per-client": 25}


@pytest.mark.needs_root
def test_new_connections_have_a_default_limit_on_a_network_address(two, plane):
    """`auto` is 200 a second with a burst of 500 there, and no limit on a listener bound to loopback."""
    service = stream("echo", "connections = 5000, per-client = 5000", SERVER4, 'allow = ["10.99.0.0/24"]')
    with Daemon(configuration(plane, service)) as daemon:
        place = daemon.inet("stream", "tcp")
        with two.client.inside(), Crowd(place, 3000, [CLIENT4]) as crowd:
            came = crowd.wait(SECONDS)
        assert came[Fate.SERVED] >= 500
        assert came[Fate.SERVED] + came[Fate.RESET] == 3000
        assert came[Fate.RESET] > 0
        figures = counted(daemon, "stream", "tcp")
        assert figures["accepted"] == came[Fate.SERVED]
        assert refused(figures) == {"new-per-client": came[Fate.RESET]}


# Datagrams

SENT, BURST = 5_000, 400
ELSEWHERE = "10.99.1.2"  #: another network of the client
VICTIM, SAME_NETWORK = "127.0.7.77", "127.0.7.78"
FAST, LARGE = 3_000, 60


def test_shares_of_datagrams(plane):
    rates = {"scarce": f'{{ rate = "0.001/{BURST}" }}', "plenty": '{ rate = "10000/10000" }', "unlimited": "{}"}
    services = [
        f'{name}]\nkind = "echo"\nlisten = ["udp://127.0.0.1:0"]\nlimits = {limits}' for name, limits in rates.items()
    ]
    with Daemon(configuration(plane, *services)) as daemon:
        # The daemon cannot detect spoofed sources: so many replies to a network, in order, and the rest is counted.
        place = daemon.inet("scarce", "udp")
        with asking(daemon, VICTIM) as victim, asking(daemon, SAME_NETWORK) as neighbour, asking(daemon) as other:
            for number in range(SENT):
                victim.sendto(b"%d" % number, place)
            lost = settled(daemon, place)
            neighbour.sendto(b"and me?", place)
            assert asked(other, place, b"and me?") == b"and me?"
            assert heard(neighbour) == []
            assert received(victim, BURST) == [b"%d" % number for number in range(BURST)]
        # 512 KiB at once: eight of the largest, and a ninth only after a quarter of a second.
        place = daemon.inet("plenty", "udp")
        with asking(daemon, VICTIM) as client:
            for number in range(LARGE):
                client.sendto(bytes([number]) * 65_000, place)
            lost_later = settled(daemon, place)
        # A measuring tool must not reach a limit on loopback, unless one is configured.
        place = daemon.inet("unlimited", "udp")
        with asking(daemon, VICTIM) as client:
            for _ in range(FAST):
                client.sendto(b"the same again", place)
                assert client.recv(100) == b"the same again"

        figures = counted(daemon, "scarce", "udp")
        refusals = refused(figures)
        assert figures["datagrams_out"] == BURST + 2
        assert refusals.pop("rate") + refusals.pop("kernel", 0) == SENT - BURST + 1 + lost
        assert not refusals
        figures = counted(daemon, "plenty", "udp")
        refusals = refused(figures)
        answered = figures["datagrams_out"] - 1
        assert 8 <= answered < LARGE
        assert answered + refusals.pop("bytes") + refusals.pop("kernel", 0) == LARGE + lost_later
        assert not refusals
        assert not refused(counted(daemon, "unlimited", "udp"))


@pytest.mark.needs_root
def test_rates_have_a_default_limit_on_a_network_address(two, plane):
    two.client.add(f"{ELSEWHERE}/32", device=LINK)
    two.server.ip("route", "add", f"{ELSEWHERE}/32", "dev", LINK)
    with Daemon(configuration(plane, f'echo]\nlisten = ["udp://{SERVER4}:0"]\nallow = ["10.99.0.0/16"]')) as daemon:
        place = daemon.inet("echo", "udp")
        with two.client.inside(), asking(daemon, CLIENT4) as client:
            for number in range(3_000):
                client.sendto(b"%d" % number, place)
            lost = settled(daemon, place, ELSEWHERE)
            answers = len(heard(client))
        figures = counted(daemon, "echo", "udp")
        assert 400 <= answers < 3_000
        assert figures["datagrams_out"] == answers + 1
        assert sum(refused(figures).values()) == 3_000 - answers + lost


@pytest.mark.needs_root
def test_a_56_shares_a_rate_over_ipv6(lo, plane):
    """A /56 is the network of one customer. The sources are spoofed, because the machine has no such addresses."""
    lists = 'allow = ["2001:db8::/32", "::1/128"]\nlimits = { rate = "0.001/10" }'
    with (
        Daemon(configuration(plane, f'echo]\nlisten = ["udp://[::1]:0"]\n{lists}')) as daemon,
        Spoofer(socket.AF_INET6) as spoofer,
    ):
        place = daemon.inet("echo", "udp")
        sources = ("2001:db8::1", "2001:db8:0:ff::1", "2001:db8:0:100::1")
        lo.add(*sources)
        for source in sources:
            for number in range(10):
                spoofer.send((source, HIGH), place, b"%d" % number)
        settled(daemon, place, "::1")
        assert refused(counted(daemon, "echo", "udp")) == {"rate": 10}
