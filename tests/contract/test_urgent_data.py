"""Urgent data over streams: no byte is lost or moved, at any position and for every way the stream ends."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.contract.matrix import (
    PLANES,
    REACHABLE,
    SERVICES,
    STREAM,
    Contract,
    anything,
    configuration,
    data,
    everywhere,
    exactly,
    rest,
)
from tests.contract.test_streams_that_answer import ORACLE
from tests.daemon import Daemon

SIZE = 20_000
BESIDE = 7  # offset of a test in the source, so that cuts and content do not coincide

cuts = st.lists(st.integers(1, SIZE - 1), min_size=1, max_size=12, unique=True).map(sorted)


def send_urgent_at(client: socket.socket, source: bytes, places: list[int]) -> None:
    """Send all of it; the byte before each position in `places` is urgent."""
    begin = 0
    for place in places:
        client.sendall(source[begin : place - 1])
        client.send(source[place - 1 : place], socket.MSG_OOB)
        begin = place
    client.sendall(source[begin:])


def has_urgent_data(family: socket.AddressFamily) -> bool:
    """Whether the kernel has urgent data on it: Unix sockets have it since Linux 5.15, if it is compiled in."""
    if family != socket.AF_UNIX:
        return True
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            return ours.send(b"a", socket.MSG_OOB) == 1
        except OSError:
            return False


class Urgent(Contract):
    """echo and upper."""

    def connect(self, service: str | None = None) -> Any:
        client = super().connect(service)
        if not has_urgent_data(client.family):
            self.skipTest("this kernel has no urgent data on Unix sockets")
        return client

    @given(cuts)
    @anything
    def test_every_byte_comes_back_in_its_place(self, places: list[int]) -> None:
        source = data()[BESIDE : BESIDE + SIZE]
        client = self.connect()
        send_urgent_at(client, source, places)
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == ORACLE[self.service](source)
        client.close()

    def test_an_urgent_byte_before_the_end_ends_nothing_early(self) -> None:
        """splice(2) stops before an urgent byte, and returns 0 there if the FIN has come."""
        source = data()[: SIZE + 1001]
        client = self.connect()
        client.sendall(source[:1000])
        client.send(source[1000:1001], socket.MSG_OOB)
        client.sendall(source[1001:])
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == ORACLE[self.service](source)

    def test_the_last_byte_may_be_urgent_and_the_only_one(self) -> None:
        for source in (b"a", b"ab"):
            client = self.connect()
            send_urgent_at(client, source, [len(source)])
            client.shutdown(socket.SHUT_WR)
            assert rest(client) == ORACLE[self.service](source)

    def test_a_conversation_continues_after_urgent_bytes(self) -> None:
        client = self.connect()
        for turn in range(50):
            source = data()[turn * 100 : turn * 100 + 100]
            send_urgent_at(client, source, [1 + turn])
            assert exactly(client, 100) == ORACLE[self.service](source)


class UrgentAndTaken(SynchronousTestCase):
    """Kinds with other replies receive every byte too: the counters show it."""

    def test_every_byte_is_counted(self) -> None:
        source = (b"a line of text that an urgent byte may cut" * 10 + b"\n") * 10
        kinds = ("discard", "ack-stays", "chat")
        for plane in PLANES:
            with Daemon(configuration(plane, {name: SERVICES[name] for name in kinds})) as daemon:
                for name in kinds:
                    for transport in REACHABLE.values():
                        if transport.carries is STREAM:
                            start = transport.listen.partition(":0")[0].partition("{")[0]
                            client = transport.connect(daemon.place(name, start))
                            urgent = [1, 2, 500, len(source) - 1, len(source)]
                            send_urgent_at(
                                client, source, urgent if transport.bare and has_urgent_data(client.family) else []
                            )
                            client.shutdown(socket.SHUT_WR)
                            rest(client)
                            client.close()
                counted = {
                    place: figures["bytes_in"]
                    for place, figures in daemon.counters().items()
                    if not place.split()[1].startswith(("udp:", "unix-dgram:", "unix-seqpacket:", "ws:", "wss:"))
                    and "admin" not in place
                }
            streams = sum(transport.carries is STREAM for transport in REACHABLE.values())
            assert list(counted.values()) == [len(source)] * len(kinds) * streams, counted


globals().update(everywhere(Urgent, STREAM, "echo", "upper", bare_only=True))
