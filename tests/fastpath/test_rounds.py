"""All ready connections are served in one loop: none may receive another's bytes, or share another's failure."""

import random
import socket
from contextlib import suppress
from functools import partial
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.events import Closing
from echod.fastpath.forwarding import SMALL, room_after
from echod.services.echo import Echo
from echod.services.upper import Upper
from tests.contract.matrix import data
from tests.fastpath.clients import connect, reset
from tests.fastpath.listener import listener, needs_the_plane, unsent
from tests.fastpath.reactors import failures

TALKERS: Final = 12
PUSHERS: Final = 4  # they send and do not read: one after the other stalls in the middle of a round
ROUNDS: Final = 60


@needs_the_plane
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
@pytest.mark.parametrize("service", [Echo, Upper])
def test_a_stall_close_or_reset_in_a_round_affects_no_other_connection(service, scheme, tmp_path):
    chance = random.Random(4)
    with listener("plane", scheme, tmp_path, service()) as made:
        talkers, pushers = [made.connect() for _ in range(TALKERS)], [made.connect() for _ in range(PUSHERS)]

        def closed(count: int) -> bool:
            return sum(made.counters.closed.values()) == count

        for number in range(ROUNDS):
            ending, leaving = made.connect(), made.connect()
            newcomer: socket.socket | None = None
            said: dict[socket.socket, bytes] = {}
            everybody = [*talkers, *pushers, ending, leaving, None]
            for client in chance.sample(everybody, len(everybody)):
                if client is None:  # the listener is ready too
                    client = newcomer = made.clients.enter_context(connect(made.place))
                    client.setblocking(False)
                if client is leaving:
                    reset(client)
                elif client in pushers:
                    with suppress(BlockingIOError):
                        client.send(data()[:30_000])
                else:
                    said[client] = b"%d of %d" % (client.fileno(), number) + chance.randbytes(
                        chance.choice([0, 600, 5000])
                    )
                    client.send(said[client])
            ending.shutdown(socket.SHUT_WR)
            for client, words in said.items():
                assert made.hear(client, len(words)) == service.transform(words)
            assert made.rest(ending) == b""
            assert newcomer is not None
            newcomer.close()
            made.until(partial(closed, 3 * number + 3))
        if scheme == "tcp":  # a Unix socket has no reset
            assert made.counters.closed == {Closing.DONE: 2 * ROUNDS, Closing.LOST: ROUNDS}
        assert len(made.port._waiting) == PUSHERS
        assert unsent(made) > 0


@needs_the_plane
def test_a_bug_in_a_round_loses_one_connection_and_the_others_continue(tmp_path, monkeypatch):
    with listener("plane", "tcp", tmp_path, Echo()) as made, failures() as logged:
        clients = [made.connect() for _ in range(5)]
        unlucky = clients[2]

        def fail(*_: object) -> None:
            raise RuntimeError("a bug")

        with monkeypatch.context() as patched:
            patched.setattr(made.port, "_end", fail)
            for client in clients:
                client.send(b"hello")
            unlucky.shutdown(socket.SHUT_WR)
            for client in clients:
                assert made.hear(client, 5) == b"hello"
            made.until(lambda: logged)
        for client in clients:
            if client is not unlucky:
                client.send(b"again")
                assert made.hear(client, 5) == b"again"
        assert len(logged) == 1


@given(st.lists(st.integers(min_value=1, max_value=100_000)), st.integers(min_value=1, max_value=100_000))
def test_a_read_requests_the_allowed_size_after_a_full_one(waiting, most):
    asked = min(SMALL, most)
    for size in waiting:
        came = min(size, asked)
        before, asked = asked, room_after(came, asked, most)
        assert min(SMALL, most) <= asked <= most
        assert came < before or asked == most


def test_a_read_requests_little_after_small_messages():
    asked = 65_536
    for _ in range(5):
        asked = room_after(64, asked, 65_536)
    assert asked == SMALL


def test_slightly_larger_messages_are_not_split_each_time():
    asked, reads = SMALL, 0
    for _ in range(100):
        left = SMALL + 50
        while left:
            came = min(left, asked)
            left, asked, reads = left - came, room_after(came, asked, 65_536), reads + 1
    assert reads == 101
