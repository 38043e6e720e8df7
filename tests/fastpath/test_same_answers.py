"""The fast path is invisible: clients receive the same bytes as on the plain path, and counters are the same.

One script drives a daemon of each plane. The number of bytes that are unread when a client resets depends on timing.
Only services whose name begins with `loose` are used in that way, and their bytes are compared with bounds; all others
are compared exactly.
"""

from __future__ import annotations

import array
import os
import select
import signal
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule, run_state_machine_as_test

from tests.contract.matrix import MIB, data, exactly, rest
from tests.daemon import SECONDS, Daemon, eventually
from tests.fastpath.clients import PLANES, Talker, both, configuration, connect, counted, processor_time, reset

TRANSFORMS: Final[Mapping[str, Callable[[bytes], bytes]]] = {"echo": bytes, "upper": bytes.upper}
SERVICES: Final = ("echo", "upper", "loose-echo:echo", "loose-upper:upper")
SCHEMES: Final = ("tcp", "unix")
LARGE: Final = 600_000  # more than a pipe and the buffers of a narrow client hold

services = st.sampled_from([service.partition(":")[0] for service in SERVICES])
tidy_services = st.sampled_from(sorted(TRANSFORMS))
schemes = st.sampled_from(SCHEMES)
sizes = st.one_of(st.integers(1, 100), st.integers(1, 70_000), st.integers(1, LARGE))


@dataclass
class Expected:
    """The expected counters of one address: exact, or bounds after a reset."""

    accepted: int = 0
    least: int = 0  # bytes that certainly arrived
    most: int = 0
    closed: Counter[str] = field(default_factory=Counter)
    by_chance: int = 0  # closes that are done or lost: a reset after a FIN


@dataclass
class Talk:
    """One connection to each daemon, and the data that both sent and received."""

    service: str
    talkers: list[Talker]
    expected: Expected
    sent: int = 0
    heard: int = 0
    finished: bool = False

    @property
    def transform(self) -> Callable[[bytes], bytes]:
        return TRANSFORMS[self.service.removeprefix("loose-")]

    @property
    def loose(self) -> bool:
        return self.service.startswith("loose")

    def say(self, size: int, piece: int) -> None:
        words = memoryview(data())[self.sent : self.sent + size]
        self.sent += size
        while words:
            for talker in self.talkers:
                talker.say(words[:piece])
            words = words[piece:]

    def hear(self, size: int) -> None:
        size = min(size, self.sent - self.heard)
        due = self.transform(data()[self.heard : self.heard + size])
        self.heard += size
        for talker, plane in zip(self.talkers, PLANES, strict=True):
            assert talker.hear(size) == due, f"plane {plane}"

    def count(self, reason: str, least: int) -> None:
        self.expected.most += self.sent
        self.expected.least += least
        if reason:
            self.expected.closed[reason] += 1
        else:
            self.expected.by_chance += 1

    def end(self) -> None:
        """Shut down sending, and check that exactly the expected data arrives."""
        due = self.transform(data()[self.heard : self.sent])
        for talker, plane in zip(self.talkers, PLANES, strict=True):
            assert talker.rest() == due, f"plane {plane}"
        self.count("done", self.sent)

    def leave(self) -> None:
        """Receive the expected data, and close."""
        self.hear(LARGE * 1000)
        for talker in self.talkers:
            talker.socket.close()
        self.count("done", self.sent)

    def reset(self) -> None:
        """Receive the expected data, and reset; with a loose service the data may stay unread."""
        if not self.loose:
            self.hear(LARGE * 1000)
        for talker in self.talkers:
            reset(talker.socket)
        self.count("" if self.finished or self.on_unix else "lost", self.heard)

    def walk_away(self) -> None:
        """Close with unread data: on TCP and Unix alike the daemon gets a reset, now or later."""
        for talker in self.talkers:
            talker.socket.close()
        self.count("", self.heard)

    @property
    def on_unix(self) -> bool:
        return self.talkers[0].socket.family == socket.AF_UNIX


class Talks(RuleBasedStateMachine):
    """Connections that open, talk, stall and close, in any order."""

    going = Bundle("going")

    daemons: Mapping[str, Daemon]
    expected: dict[tuple[str, str], Expected]  # by service and scheme

    def __init__(self) -> None:
        super().__init__()
        self.talks: list[Talk] = []
        self.sockets = ExitStack()

    def teardown(self) -> None:
        with self.sockets:
            for talk in self.talks:
                talk.end()

    def begin(self, service: str, scheme: str, narrow: bool = False) -> Talk:
        expected = self.expected.setdefault((service, scheme), Expected())
        expected.accepted += 1
        places = [self.daemons[plane].place(service, scheme) for plane in PLANES]
        sockets = [self.sockets.enter_context(connect(place, narrow=narrow)) for place in places]
        return Talk(service, [Talker(client) for client in sockets], expected)

    @rule(target=going, service=services, scheme=schemes, narrow=st.booleans())
    def connects(self, service: str, scheme: str, narrow: bool) -> Talk:
        talk = self.begin(service, scheme, narrow)
        self.talks.append(talk)
        return talk

    @rule(talk=going, size=sizes, pieces=st.integers(1, 30))
    def says(self, talk: Talk, size: int, pieces: int) -> None:
        if not talk.finished:
            talk.say(size, -(-size // pieces))

    @rule(talk=going, size=sizes)
    def hears(self, talk: Talk, size: int) -> None:
        talk.hear(size)

    @rule(talk=going)
    def finishes(self, talk: Talk) -> None:
        if not talk.finished:
            talk.finished = True
            for talker in talk.talkers:
                talker.finish()

    @rule(talk=consumes(going))
    def ends(self, talk: Talk) -> None:
        self.talks.remove(talk)
        talk.end()

    @rule(talk=consumes(going))
    def leaves(self, talk: Talk) -> None:
        self.talks.remove(talk)
        talk.leave()

    @rule(talk=consumes(going))
    def resets(self, talk: Talk) -> None:
        self.talks.remove(talk)
        talk.reset()

    @rule(talk=consumes(going))
    def walks_away(self, talk: Talk) -> None:
        self.talks.remove(talk)
        if talk.loose:
            talk.walk_away()
        else:
            talk.end()

    @rule(
        service=tidy_services,
        scheme=schemes,
        number=st.integers(1, 20),
        size=st.integers(1, 3000),
        how=st.sampled_from([Talk.end, Talk.leave, Talk.reset]),
    )
    def many_come_and_go(self, service: str, scheme: str, number: int, size: int, how: Callable[[Talk], None]) -> None:
        """The descriptors have not changed, nor have the entries in the fast path's arrays."""
        for _ in range(number):
            talk = self.begin(service, scheme)
            talk.say(size, size)
            talk.hear(size // 2)
            how(talk)


def test_any_traffic_is_the_same_on_both_paths():
    with both(*SERVICES) as daemons:
        expected: dict[tuple[str, str], Expected] = {}
        run_state_machine_as_test(
            type("TalksHere", (Talks,), {"daemons": daemons, "expected": expected}),
            settings=settings(
                max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
        for plane, daemon in daemons.items():
            for (service, scheme), one in expected.items():
                figures = Counter(counted(daemon, service, scheme))
                where = f"{service} over {scheme}, plane {plane}: {figures}"
                assert figures["accepted"] == one.accepted, where
                assert one.least <= figures["bytes_out"] <= figures["bytes_in"] <= one.most, where
                closed = Counter({reason: figures[f"closed:{reason}"] for reason in ("done", "lost")})
                assert closed >= one.closed, where
                assert closed.total() == one.accepted == one.closed.total() + one.by_chance, where
            daemon.check()


# one by one: cases that the random script may miss


def ended_and_opened(running: Daemon) -> bool:
    """Whether the log has the end of each connection that it has the beginning of."""
    lines = [line for line in running.stderr.text if " from " in line]
    return 2 * sum(" ended: " in line for line in lines) == len(lines) > 0


@pytest.fixture(scope="module", params=PLANES)
def daemon(request):
    with Daemon(configuration(request.param, "echo", "upper", daemon='log-level = "debug"')) as running:
        yield running

        assert eventually(lambda: ended_and_opened(running)), running.log()
        running.check()
        assert running.stop() == 0


@pytest.fixture(params=SCHEMES)
def scheme(request):
    return request.param


@pytest.mark.parametrize("service", sorted(TRANSFORMS))
def test_urgent_bytes_are_returned_in_their_place(daemon, service, scheme):
    """splice(2) stops before an urgent byte without end; recv(2) reads past it."""
    with connect(daemon.place(service, scheme)) as client:
        client.sendall(b"ONE")
        assert exactly(client, 3) == b"ONE"
        try:
            client.send(b"!", socket.MSG_OOB)
        except OSError:
            pytest.skip("this kernel has no urgent data on this transport")
        client.sendall(b"TWO")
        assert exactly(client, 4) == b"!TWO"
        client.sendall(data()[:LARGE].upper()[:60_000])
        assert exactly(client, 60_000) == data()[:60_000].upper()
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == b""


def test_the_daemon_does_not_spin_without_traffic(daemon, scheme):
    """Idle, stalled, half-closed while stalled, read again, and with an urgent byte."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(daemon.place("echo", scheme), narrow=True)) for _ in range(5)]
        silent, stuck, finished, relieved, urgent = [Talker(client) for client in clients]
        for talker in (stuck, finished, relieved):
            talker.say(data()[: 4 * MIB])
            while talker.push() or select.select([], [talker.socket], [], 0.1)[1]:
                pass
        sent = 4 * MIB - len(relieved.waiting)
        relieved.waiting.clear()
        assert relieved.hear(sent) == data()[:sent]
        finished.socket.shutdown(socket.SHUT_WR)
        if scheme == "tcp":
            urgent.socket.send(b"!", socket.MSG_OOB)
            assert urgent.hear(1) == b"!"
        begun = processor_time(daemon.process.pid)
        select.select([], [], [], 0.5)
        assert processor_time(daemon.process.pid) - begun < 0.25, "it spins"
        for talker in (silent, relieved, urgent):
            talker.say(b"and now?")
            assert talker.hear(8) == b"and now?"


@pytest.mark.parametrize("service", sorted(TRANSFORMS))
def test_descriptors_that_a_client_passes_are_closed(daemon, service):
    """The bytes that come with them are returned; the other end of the pipe sees that it was closed."""
    read, write = os.pipe()
    with connect(daemon.place(service, "unix")) as client:
        client.sendall(b"A")
        client.sendmsg([b"B"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write] * 20))])
        client.sendall(b"C")
        os.close(write)
        assert exactly(client, 3) == b"ABC"
        assert select.select([read], [], [], SECONDS)[0]
        assert os.read(read, 1) == b""
    os.close(read)


def test_a_fin_without_data_gets_a_fin(daemon, scheme):
    with connect(daemon.place("echo", scheme)) as client:
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == b""


def test_a_fin_that_arrived_with_the_data_waits_for_the_reply(daemon, scheme):
    """Everything has arrived before the connection is accepted."""
    daemon.send_signal(signal.SIGSTOP)
    with ExitStack() as sockets:
        try:
            clients = [sockets.enter_context(connect(daemon.place("echo", scheme))) for _ in range(200)]
            for client in clients:
                client.sendall(b"all at once")
                client.shutdown(socket.SHUT_WR)
        finally:
            daemon.send_signal(signal.SIGCONT)
        assert [rest(client) for client in clients] == [b"all at once"] * 200


def test_a_client_that_left_before_accept_leaves_no_resource(daemon, scheme):
    daemon.send_signal(signal.SIGSTOP)
    try:
        for number in range(200):
            client = connect(daemon.place("echo", scheme))
            if number % 2:
                client.sendall(b"too late")
            reset(client)
    finally:
        daemon.send_signal(signal.SIGCONT)
    with connect(daemon.place("echo", scheme)) as client:
        client.sendall(b"now")
        assert exactly(client, 3) == b"now"


def test_a_client_that_stops_reading_is_closed_when_it_leaves(daemon, scheme):
    talker = Talker(connect(daemon.place("echo", scheme), narrow=True))
    talker.say(data()[: 8 << 20])
    while talker.push() or select.select([], [talker.socket], [], 0.2)[1]:
        pass
    assert talker.waiting, "the daemon accepted all of it"
    talker.socket.close()
