"""One connection attempt of `ping --connect`: events of the reactor that belong to another socket."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from echod.address import parse
from echod.client.connect_attempt import Attempt
from tests.fastpath.reactors import reactor_of, turn_until


def test_the_event_of_a_closed_socket_is_not_that_of_a_new_one_with_its_descriptor():
    """The listen queue is full, so the connection is made later, when the kernel repeats its SYN."""
    with reactor_of(EPollReactor) as reactor, socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        name = listening.getsockname()
        ends: list[OSError | None] = []
        address = parse(f"tcp://127.0.0.1:{name[1]}", client=True)
        with ExitStack() as stack:
            queued = stack.enter_context(socket.create_connection(name))
            attempt = Attempt(reactor, (socket.AF_INET, name), address, 30.0, lambda _, error: ends.append(error))
            attempt.begin()
            attempt.doWrite()
            attempt.stopWriting()  # as the reactor does before the next call
            attempt.connectionLost(Failure(ConnectionLost()))
            assert (ends, reactor.getWriters()) == ([], [attempt])
            accepted = stack.enter_context(listening.accept()[0])
            assert accepted.getpeername() == queued.getsockname()
            turn_until(reactor, lambda: ends)
            assert ends == [None]
            attempt.give_up()
