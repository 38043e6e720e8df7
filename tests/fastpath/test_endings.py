"""Every way of ending a connection frees its descriptor: tests 19 and 20 of docs/PROMISES.md.

A listener of tests.fastpath.listener fails by itself if a descriptor stays open.
"""

import socket
from itertools import repeat

import pytest

from echod.events import Closing
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, End, Peer, Quiet, Reply, Say, Service, Session
from echod.services.echo import Echo
from echod.services.upper import Upper
from echod.transports.layers.layer_interface import LINGER
from tests.contract.matrix import MIB, data
from tests.fastpath.clients import reset
from tests.fastpath.listener import STALL, Listener, unsent

CROWD = 300
plain_only = pytest.mark.parametrize("way", ["plain"])


class Speech(Service):
    """Sends so many bytes to each client, and closes."""

    kind = "speech"
    summary = "sends much and closes"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def session(self, peer: Peer, say: Say) -> Session:
        return _Speaking(self.size)


class _Speaking(Quiet):
    def __init__(self, size: int) -> None:
        self.size = size

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        return Reply(bytes(self.size), end=End.CLOSE) if data == b"speak" else NOTHING

    def ended(self) -> Reply:
        return CLOSE


def asked(made: Listener) -> socket.socket:
    """A client that has requested the output."""
    client = made.connect()
    client.send(b"speak")
    made.until(lambda: all(conversation.bytes_in for conversation in made.factory.conversations))
    made.turn()
    return client


@plain_only
def test_a_client_that_does_not_close_after_our_fin_is_reset_after_its_time(make):
    """Data that it still sends does not extend the time."""
    with make(Speech(100)) as made:
        _, talking = asked(made), asked(made)
        for _ in range(round(LINGER / 0.5)):
            assert made.counters.closed == {}
            talking.send(b"?")
            made.pass_time(0.5)
        made.pass_time(1)
        assert made.counters.closed == {Closing.LINGER: 2}


@plain_only
def test_a_client_that_closes_after_our_fin_is_done_at_once(make):
    with make(Speech(100)) as made:
        client = asked(made)
        assert made.rest(client) == bytes(100)
        client.close()
        made.until(lambda: made.counters.open == 0)
        assert made.counters.closed == {Closing.DONE: 1}


@plain_only
def test_a_close_waits_for_pending_output_but_not_longer_than_stall(make):
    """The time to close begins after the output was sent; sending has the usual limit, `stall`."""
    with make(Speech(16 * MIB), stall=STALL) as made:
        taking, stuck = asked(made), asked(made)
        heard = 0
        for _ in range(4):
            made.pass_time(STALL / 4)
            heard += len(made.hear(taking, 4 * MIB))
        assert heard == 16 * MIB
        assert made.hear(taking, 1) == b""
        assert Closing.LINGER not in made.counters.closed
        made.pass_time(STALL + LINGER)
        assert made.counters.closed == {Closing.STALL: 1, Closing.LINGER: 1}
        stuck.close()


@pytest.mark.parametrize("service", [Echo, Upper])
def test_a_paused_connection_ends_as_any_other(make, service):
    """The daemon does not read from it, and still detects a reset, a close and a client that stays."""
    with make(service(), idle=0.0) as made:
        clients = [made.connect() for _ in range(CROWD)]
        source = data()[: MIB // 2]
        for _ in repeat(None, 3):
            for client in clients:
                try:
                    client.send(source)
                except BlockingIOError:
                    pass
            made.turn(3)
        stuck = [client for client in clients if made.stick(client, MIB // 2) is not None]
        assert unsent(made) > 0
        for number, client in enumerate(stuck):
            if number % 3 == 0:
                reset(client)
            elif number % 3 == 1:
                client.shutdown(socket.SHUT_WR)
                client.close()
        made.until(lambda: made.counters.open == CROWD // 3)
        for _ in range(5):  # a kernel short of memory may accept the rest of a send later, which restarts the time
            made.pass_time(STALL + 1)
        assert made.counters.open == 0
        assert sum(made.counters.closed.values()) == CROWD
        assert made.counters.closed[Closing.STALL] == CROWD // 3
        assert made.unsent.total == 0
