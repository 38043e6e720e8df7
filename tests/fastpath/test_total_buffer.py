"""All pending data has one bound: above it a stalled client is not read from, and all other clients are served."""

import os
import socket
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import pytest

from echod.fastpath.stream_lane import StreamLane
from echod.gate.total_buffer import KERNEL_BUFFER, LITTLE, Pressure
from echod.services.echo import Echo
from echod.services.upper import Upper
from tests.contract.matrix import MIB, data
from tests.fastpath.listener import STALL, Listener, unsent

BUFFER: Final = 65_536
TOTAL: Final = 4 * BUFFER
SOON: Final = 1.25  # seconds, more than one interval of the sweep


def waits(made: Listener) -> int:
    """Bytes of the sum, after a sweep of the plain path."""
    made.pass_time(SOON)
    return made.unsent.total


def kernel_buffers(made: Listener) -> list[int]:
    """The send buffer in the kernel of each open connection."""
    if isinstance(made.port, StreamLane):
        sockets = [socket.socket(fileno=os.dup(descriptor)) for descriptor in made.port._hosts]
    else:
        lowest: list[Any] = [one.below for one in made.factory.conversations]
        sockets = [one.socket.dup() for one in lowest]
    found = [one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) for one in sockets]
    for one in sockets:
        one.close()
    return found


def press(made: Listener, pressure: Pressure) -> list[tuple[socket.socket, int]]:
    """Stalled clients up to that pressure, and the bytes that each has sent."""
    stuck = []
    while made.factory.mark.pressure < pressure:
        stuck.append(stick(made))
    return stuck


def stick(made: Listener) -> tuple[socket.socket, int]:
    """A stalled client with much pending data, and the bytes that it has sent."""
    client = made.connect(narrow=False)
    before = stuck_now(made)
    sent = 0

    def send() -> bool:
        nonlocal sent
        with suppress(BlockingIOError):
            while True:
                sent += client.send(data()[sent : sent + MIB])
        return stuck_now(made) > before

    made.until(send)
    return client, sent


def stuck_now(made: Listener) -> int:
    """The number of connections that are not read from."""
    if isinstance(made.port, StreamLane):
        return len(made.port._waiting)
    return sum(one.paused for one in made.factory.conversations)


def is_served(made: Listener, client: socket.socket) -> bool:
    """Whether more than LITTLE comes back complete."""
    heard, said, words = b"", 0, data()[: 3 * LITTLE]
    while len(heard) < len(words):
        if said < len(words):
            said += client.send(words[said : said + 1000])
        heard += made.hear(client, min(said, len(words)) - len(heard))
    assert made.factory.service.transform is not None
    return heard == made.factory.service.transform(words)


@pytest.mark.parametrize("service", [Echo, Upper])
def test_above_the_bound_a_stalled_client_is_not_read_from_and_all_others_are_served(make, service):
    with make(service(), total_buffer=TOTAL, stall=0.0, idle=0.0) as made:
        good = made.connect()
        stuck = press(made, Pressure.FULL)
        assert made.unsent.total == unsent(made) > TOTAL
        assert made.counters.held_back >= 1
        assert made.told[0] == made.told[-1] == "reading.paused"
        assert is_served(made, good)
        before = made.unsent.total
        held_back = made.counters.held_back
        late = stick(made)
        assert waits(made) - before <= LITTLE  # the size of one read
        assert made.counters.held_back > held_back
        assert is_served(made, good)
        for client, size in [*stuck, late]:
            client.shutdown(socket.SHUT_WR)
            assert made.rest(client) == service.transform(data()[:size])
        assert waits(made) == 0
        assert made.factory.mark.pressure is Pressure.NONE
        assert made.told == ["reading.paused", "reading.resumed"] * (len(made.told) // 2)
        assert is_served(made, good)


def test_reading_continues_when_stalled_clients_have_gone(make):
    with make(Echo(), total_buffer=TOTAL, stall=STALL, idle=0.0) as made:
        good = made.connect()
        press(made, Pressure.FULL)
        made.pass_time(STALL + SOON)
        made.until(lambda: made.counters.open == 1)
        assert waits(made) == 0
        assert made.told == ["reading.paused", "reading.resumed"] * (len(made.told) // 2)
        assert is_served(made, good)
        press(made, Pressure.HALF)  # by as much from each as before


def test_the_sum_is_shared_and_each_limit_applies_to_its_service(make):
    """A service with a smaller limit is paused first."""
    with make(Echo(), total_buffer=TOTAL, stall=0.0, idle=0.0) as made:
        other = made.unsent.mark(TOTAL // 4)
        heard: list[Pressure] = []
        other.join(heard.append)
        press(made, Pressure.HALF)
        assert heard[0] is Pressure.NONE
        assert heard[-1] is Pressure.FULL
        assert made.factory.mark.pressure is Pressure.HALF


def test_pending_data_of_a_stopped_listener_is_still_counted(make):
    with make(Echo(), total_buffer=TOTAL, stall=0.0, idle=0.0) as made:
        stuck = press(made, Pressure.HALF)
        made.stop()
        made.factory.drain(10)
        assert waits(made) == unsent_of_conversations(made) > 0
        for client, size in stuck:
            client.shutdown(socket.SHUT_WR)
            assert made.rest(client) == data()[:size]
        made.until(lambda: made.counters.open == 0)
        assert made.unsent.total == 0


def unsent_of_conversations(made: Listener) -> int:
    return sum(one.unsent for one in made.factory.conversations)


@pytest.mark.parametrize("scheme", ["tcp"])
def test_above_half_the_send_buffers_of_new_and_stalled_clients_are_smaller(make):
    """As getsockopt reports it: twice the requested size (socket(7))."""
    with make(Echo(), total_buffer=TOTAL, stall=0.0, idle=0.0) as made:
        calm = made.connect()
        before = kernel_buffers(made)
        assert 2 * KERNEL_BUFFER not in before
        stuck = press(made, Pressure.HALF)
        assert sorted(kernel_buffers(made)) == sorted([*before, *[2 * KERNEL_BUFFER] * len(stuck)])
        made.connect()
        assert kernel_buffers(made).count(2 * KERNEL_BUFFER) == len(stuck) + 1
        for client, size in stuck:
            client.shutdown(socket.SHUT_WR)
            assert made.rest(client) == data()[:size]
        assert waits(made) == 0
        made.connect()
        assert kernel_buffers(made).count(2 * KERNEL_BUFFER) == 1
        assert is_served(made, calm)


@pytest.mark.parametrize("scheme", ["unix"])
def test_a_unix_socket_keeps_its_buffer(make):
    """It does not grow by itself, and the size that would be set is larger."""
    with make(Echo(), total_buffer=TOTAL, stall=0.0, idle=0.0) as made:
        made.connect()
        before = kernel_buffers(made)[0]
        press(made, Pressure.FULL)
        made.connect()
        assert set(kernel_buffers(made)) == {before}


def test_another_limit_applies_after_the_reload(make):
    """For existing and new connections; the same holds for another `buffer`."""
    with make(Echo(), total_buffer=TOTAL * 100, stall=0.0, idle=0.0) as made:
        stuck = [stick(made) for _ in range(8)]
        assert waits(made) > 2 * LITTLE
        limits = replace(made.factory.limits, total_buffer=2 * LITTLE)
        made.factory.reconfigure(made.factory.service, limits)
        assert made.told == ["reading.paused"]
        assert made.counters.held_back >= 1
        before = waits(made)
        late = stick(made)
        assert waits(made) - before <= LITTLE
        made.factory.reconfigure(made.factory.service, replace(limits, total_buffer=TOTAL * 100))
        assert made.factory.mark.pressure is Pressure.NONE
        for client, size in [*stuck, late]:
            client.shutdown(socket.SHUT_WR)
            assert made.rest(client) == data()[:size]
        assert made.unsent.total == 0
