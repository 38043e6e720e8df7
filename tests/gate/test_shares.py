"""What one client, one network and one service may have, and that others keep theirs: tests 5 and 40 of PROMISES.md."""

import socket

import pytest

from tests.chaos.crowd import Crowd, Fate, served
from tests.chaos.faults import connections
from tests.chaos.forge import Forger
from tests.chaos.network import CLIENT4, CLIENT6, SERVER4, SERVER6
from tests.daemon import SECONDS, Daemon, eventually
from tests.gate.room import asked, asking, configuration, counted, refused, settled

ONE, OTHER = "127.0.0.9", "127.0.1.9"


STAYING = {"echo": "", "ack": 'close = false\nshow = "no"'}
"""Services that hold a connection for as long as the client does: one that the fast plane carries, one that it does not."""


def streams(plane: str, limits: str, host: str = "127.0.0.1", more: str = "") -> str:
    return configuration(
        plane,
        *(
            f'{kind}]\nlisten = ["tcp://{host}:0"]\nlimits = {{ {limits} }}\n{more}\n{options}'
            for kind, options in STAYING.items()
        ),
    )


def fates(served_: int, reset: int) -> dict[Fate, int]:
    return {fate: count for fate, count in ((Fate.SERVED, served_), (Fate.RESET, reset)) if count}


@pytest.mark.parametrize("kind", STAYING)
@pytest.mark.parametrize("limit", ["connections", "per-client"])
def test_so_many_at_once_and_not_one_more(plane, limit, kind):
    """Exactly as many are served, the others are reset at once, and whoever leaves makes room for exactly one."""
    room, hosts = 50, [ONE, OTHER] if limit == "connections" else [ONE]
    with Daemon(streams(plane, f"{limit} = {room}")) as daemon:
        place, lines = daemon.inet(kind, "tcp"), len(daemon.stderr.raw)
        with Crowd(place, 4 * room, hosts) as crowd:
            assert crowd.wait(SECONDS) == fates(room, 3 * room)
            with Crowd(place, room, [OTHER]) as others:
                expected = fates(0, room) if limit == "connections" else fates(room, 0)
                assert others.wait(SECONDS) == expected
            leaving = crowd.those(Fate.SERVED)[: room // 2]
            crowd.close(leaving[::2])
            crowd.close(leaving[1::2], reset=True)
            came = len(leaving)
            assert eventually(lambda: connections(daemon.process.pid, place) == room - came)
            with Crowd(place, room, hosts) as later:
                assert later.wait(SECONDS) == fates(came, room - came)
        assert len(daemon.stderr.raw) == lines
        assert eventually(lambda: not connections(daemon.process.pid, place))
        with Crowd(place, room, hosts) as last:
            assert last.wait(SECONDS) == fates(room, 0)
        figures = counted(daemon, kind, "tcp")
        others_in = 0 if limit == "connections" else room
        assert figures["accepted"] == room + others_in + came + room
        assert refused(figures) == {limit: 3 * room + (room - others_in) + room - came}
        assert "open" not in figures


@pytest.mark.parametrize("kind", STAYING)
def test_so_many_new_ones(plane, kind):
    """A burst is served, what comes behind it is reset, and others have a burst of their own."""
    with Daemon(streams(plane, 'new-per-client = "0.001/20"')) as daemon:
        place = daemon.inet(kind, "tcp")
        with Crowd(place, 100, [ONE]) as crowd:
            assert crowd.wait(SECONDS) == fates(20, 80)
        with Crowd(place, 10, [ONE]) as crowd:
            assert crowd.wait(SECONDS) == fates(0, 10), "leaving gives nothing back"
        with Crowd(place, 30, [OTHER]) as crowd:
            assert crowd.wait(SECONDS) == fates(20, 10)
        figures = counted(daemon, kind, "tcp")
        assert figures["accepted"] == 40
        assert refused(figures) == {"new-per-client": 100}


@pytest.mark.parametrize("kind", STAYING)
def test_500_clients_behind_one_address(plane, kind):
    """NAT: they share what one client has, and nobody else notices."""
    with Daemon(streams(plane, "per-client = 200")) as daemon:
        place = daemon.inet(kind, "tcp")
        with Crowd(place, 500, [ONE]) as crowd, Crowd(place, 100, [OTHER]) as others:
            assert crowd.wait(SECONDS) == fates(200, 300)
            assert others.wait(SECONDS) == fates(100, 0)
        figures = counted(daemon, kind, "tcp")
        assert figures["accepted"] == 300
        assert refused(figures) == {"per-client": 300}


@pytest.mark.system_wide
def test_who_is_one_client_over_ipv6(two, plane):
    """A /64 is one client: a host has as many addresses as it likes in its own."""
    two.client.add("fd00:99::3/64", "fd00:99:0:1::1/64", device="eth0")
    two.server.ip("-6", "route", "add", "fd00:99:0:1::/64", "via", CLIENT6)
    more = 'allow = ["fd00:99::/32"]'
    with Daemon(streams(plane, "per-client = 10", f"[{SERVER6}]", more)) as daemon, two.client.inside():
        place = daemon.inet("echo", "tcp")
        with Crowd(place, 30, [CLIENT6, "fd00:99::3"]) as crowd, Crowd(place, 15, ["fd00:99:0:1::1"]) as others:
            assert crowd.wait(SECONDS) == fates(10, 20)
            assert others.wait(SECONDS) == fates(10, 5)
        assert refused(counted(daemon, "echo", "tcp")) == {"per-client": 25}


@pytest.mark.system_wide
def test_new_ones_are_bounded_unasked_where_the_network_reaches(two, plane):
    """`auto` is 200 a second and 500 at once there, and no limit at all on a listener bound to loopback."""
    with Daemon(streams(plane, "connections = 5000, per-client = 5000", SERVER4, 'allow = ["10.99.0.0/24"]')) as daemon:
        place = daemon.inet("echo", "tcp")
        with two.client.inside(), Crowd(place, 3000, [CLIENT4]) as crowd:
            came = crowd.wait(SECONDS)
        assert came[Fate.SERVED] >= 500
        assert came[Fate.SERVED] + came[Fate.RESET] == 3000
        assert came[Fate.RESET] > 0
        figures = counted(daemon, "echo", "tcp")
        assert figures["accepted"] == came[Fate.SERVED]
        assert refused(figures) == {"new-per-client": came[Fate.RESET]}


# Datagrams

BURST = 400
VICTIM, SAME_NETWORK = "127.0.7.77", "127.0.7.78"


def test_a_victim_gets_no_more_than_a_share(plane):
    """Forged or not, the daemon cannot know: so many answers, and all else is counted; its neighbours share that."""
    sent = 5_000
    with Daemon(datagrams(plane, f"0.001/{BURST}")) as daemon:
        place = daemon.inet("echo", "udp")
        with asking(daemon, VICTIM) as victim, asking(daemon, SAME_NETWORK) as neighbour, asking(daemon) as other:
            for number in range(sent):
                victim.sendto(b"%d" % number, place)
            settled(daemon, place, "127.0.0.1")
            victim.settimeout(0.2)
            answers = []
            with pytest.raises(TimeoutError):
                while True:
                    answers.append(victim.recv(100))
            assert answers == [b"%d" % number for number in range(BURST)]
            assert asked(neighbour, place, b"and me?") is None
            assert asked(other, place, b"and me?") == b"and me?"
        figures = counted(daemon, "echo", "udp")
        refusals = refused(figures)
        assert figures["datagrams_out"] == BURST + 2
        assert refusals.pop("rate") + refusals.pop("kernel", 0) == sent - BURST + 1
        assert not refusals


def datagrams(plane: str, rate: str, host: str = "127.0.0.1", more: str = "") -> str:
    return configuration(plane, f'echo]\nlisten = ["udp://{host}:0"]\nlimits = {{ rate = "{rate}" }}\n{more}')


def test_bytes_have_a_share_too(plane):
    """512 KiB at once: eight of the largest datagrams, and not a ninth (unless a second has gone by for each)."""
    with Daemon(datagrams(plane, "10000/10000")) as daemon:
        place = daemon.inet("echo", "udp")
        with asking(daemon, VICTIM) as client:
            for number in range(30):
                client.sendto(bytes([number]) * 65_000, place)
            settled(daemon, place, "127.0.0.1")
        figures = counted(daemon, "echo", "udp")
        refusals = refused(figures)
        assert 8 <= figures["datagrams_out"] - 1 < 30
        assert figures["datagrams_out"] - 1 + refusals["bytes"] + refusals.get("kernel", 0) == 30


def test_no_rate_where_none_is_asked_for(plane):
    """A listener bound to loopback has none by default: a measuring tool must not meet a limit there."""
    config = configuration(plane, 'echo]\nlisten = ["udp://127.0.0.1:0"]')
    with Daemon(config) as daemon:
        place = daemon.inet("echo", "udp")
        with asking(daemon, VICTIM) as client:
            for _ in range(3_000):
                client.sendto(b"the same again", place)
                assert client.recv(100) == b"the same again"
        assert not refused(counted(daemon, "echo", "udp"))


@pytest.mark.system_wide
def test_rates_are_bounded_unasked_where_the_network_reaches(two, plane):
    with Daemon(configuration(plane, f'echo]\nlisten = ["udp://{SERVER4}:0"]\nallow = ["10.99.0.0/24"]')) as daemon:
        place = daemon.inet("echo", "udp")
        with two.client.inside(), asking(daemon, CLIENT4) as client:
            for number in range(3_000):
                client.sendto(b"%d" % number, place)
            client.settimeout(0.3)
            answers = 0
            with pytest.raises(TimeoutError):
                while client.recv(100):
                    answers += 1
        figures = counted(daemon, "echo", "udp")
        assert 400 <= answers < 3_000
        assert figures["datagrams_out"] == answers
        assert sum(refused(figures).values()) == 3_000 - answers


@pytest.mark.system_wide
def test_who_shares_a_rate_over_ipv6(lo, plane):
    """A /56 is what one customer has. The sources are forged: it takes nobody's own address."""
    more = 'allow = ["2001:db8::/32", "::1/128"]'
    with Daemon(datagrams(plane, "0.001/10", "[::1]", more)) as daemon, Forger(socket.AF_INET6) as forger:
        place = daemon.inet("echo", "udp")
        lo.add("2001:db8::1", "2001:db8:0:ff::1", "2001:db8:0:100::1")
        for source in ("2001:db8::1", "2001:db8:0:ff::1", "2001:db8:0:100::1"):
            for number in range(10):
                forger.send((source, 40_000), place, b"%d" % number)
        settled(daemon, place, "::1")
        assert refused(counted(daemon, "echo", "udp")) == {"rate": 10}


def test_a_client_can_come_back(plane):
    """Refusals leave nothing behind: whoever was refused for what he held is served when he holds less."""
    with Daemon(streams(plane, "per-client = 1")) as daemon:
        place = daemon.inet("echo", "tcp")
        for _ in range(20):
            with Crowd(place, 3, [ONE]) as crowd:
                assert crowd.wait(SECONDS) == fates(1, 2)
            assert eventually(lambda: not connections(daemon.process.pid, place))
        assert served(place)
        figures = counted(daemon, "echo", "tcp")
        assert (figures["accepted"], refused(figures)) == (21, {"per-client": 40})
