"""A connection that the kernel reports as writable, but that accepts nothing: the daemon retries after a pause."""

import errno
import os
import socket
import time
from contextlib import contextmanager
from functools import partial
from unittest import mock

import pytest
from twisted.internet.task import Clock

from echod.fastpath.pipes import Waiting
from echod.fastpath.stream_lane import StreamLane
from echod.services.echo import Echo
from echod.services.upper import Upper
from echod.transports.stream_socket import RESET_ON_CLOSE, StreamSocket
from echod.transports.write_retry import A_TURN, PAUSE, TURNS, WriteRetry
from tests.contract.matrix import data

LOOKED_AT = 0.35  #: seconds


@contextmanager
def nothing_is_taken(made):
    """Counts the attempts, and fails them as Linux does if all sockets together exceed tcp_mem."""
    tries: list[float] = []

    def refuse(*_: object) -> int:
        tries.append(time.monotonic())
        if isinstance(made.port, StreamLane):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return 0

    with (
        mock.patch.object(Waiting, "send", refuse),
        mock.patch.object(StreamSocket, "_give", refuse),
    ):
        yield tries


def for_a_while(made):
    """Turn the loop for LOOKED_AT, or longer if this process is stopped meanwhile. Returns the seconds."""
    begun = time.monotonic()
    while time.monotonic() < begun + LOOKED_AT:
        made.turn()
    return time.monotonic() - begun


def takes_all(client: socket.socket) -> bytes:
    """The data received so far."""
    came = bytearray()
    try:
        while part := client.recv(1 << 20):
            came += part
    except BlockingIOError:
        pass
    return bytes(came)


@pytest.mark.parametrize("service", [Echo, Upper])
def test_a_write_is_retried_a_few_times_a_second_and_loses_nothing(make, service):
    with make(service(), stall=0.0, idle=0.0) as made:
        client = made.connect()
        sent = made.stick(client)
        with nothing_is_taken(made) as tries:
            came = takes_all(client)
            made.until(lambda: tries)
            tries.clear()
            seconds = for_a_while(made)
            assert len(tries) <= 2 + seconds / PAUSE  # in that time, and one at each end
        client.shutdown(socket.SHUT_WR)
        assert came + made.rest(client) == service.transform(data()[:sent])


def test_a_client_with_the_same_descriptor_number_is_served(make):
    """A connection that was paused has gone: its retry must not affect the next one."""
    with make(Echo(), stall=0.0, idle=0.0) as made:
        client = made.connect()
        made.stick(client)
        with nothing_is_taken(made) as tries:
            takes_all(client)
            made.until(lambda: tries)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        client.close()
        made.until(lambda: made.counters.open == 0)
        other = made.connect()
        for_a_while(made)
        other.send(b"and I?")
        assert made.hear(other, 6) == b"and I?"


def test_all_retries_run_within_ten_turns_and_few_at_once():
    clock = Clock()
    resting = WriteRetry(clock)
    woken: list[int] = []
    many = 3 * TURNS * A_TURN
    for number in range(many):
        resting.add(number, partial(woken.append, number))
    resting.forget(0)
    clock.advance(PAUSE)
    assert woken == list(range(1, 1 + (many - 1) // TURNS))
    for _ in range(4 * TURNS):
        clock.advance(PAUSE)
    assert sorted(woken) == list(range(1, many))
    assert len(resting) == 0
    assert not clock.getDelayedCalls()
