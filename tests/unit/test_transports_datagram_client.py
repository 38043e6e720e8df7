"""The client side of datagrams: errors that the reactor reports late, and errors of single datagrams."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from echod.model import NOTHING, PLAIN, Arrival, Quiet, Reply
from echod.transports.datagram_client import DatagramDialogue
from tests.fastpath.reactors import reactor_of, turn_until


class Received(Quiet):
    """A session that keeps what it receives."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        self.datagrams.append(data)
        return NOTHING


class Client:
    """A dialogue with one address, and what it reports. Refusals do not end it. `prepare` is called for each socket."""

    def __init__(self, reactor: Any, name: Any, prepare: Callable[[socket.socket], None] = lambda opened: None) -> None:
        self.session = Received()
        self.ends: list[OSError | None] = []
        self.refused: list[OSError] = []
        self.sent: list[int] = []
        targets = [(socket.AF_INET, name)]
        self.dialogue = DatagramDialogue(
            reactor, "udp", targets, prepare, lambda peer, say: self.session, self.ends.append
        )
        self.dialogue.refused = self.refused.append
        self.dialogue.stamp(lambda number, sent_ns: self.sent.append(number))
        self.dialogue.begin()

    def send(self, data: bytes) -> None:
        self.dialogue.perform(Reply(data))


class Earlier(FileDescriptor):
    """A pipe whose data causes a call. It became ready first, so its event is the first of a batch."""

    def __init__(self, reactor: Any, call: Any) -> None:
        super().__init__(reactor)
        self.reading, self.writing = socket.socketpair()
        self.call = call
        self.startReading()

    def fileno(self) -> int:
        return self.reading.fileno()

    def doRead(self) -> None:
        self.reading.recv(1)
        self.call()

    def close(self) -> None:
        self.stopReading()
        self.reading.close()
        self.writing.close()


@pytest.fixture
def reactor() -> Iterator[Any]:
    with reactor_of(EPollReactor) as made:
        yield made


@contextmanager
def bound(name: Any = ("127.0.0.1", 0)) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(name)
        opened.settimeout(30)
        yield opened


def echo(peer: socket.socket) -> None:
    peer.sendto(*peer.recvfrom(100))


def test_the_error_of_a_closed_socket_does_not_end_the_session(reactor):
    """One batch has an event whose handler sends, and the refusal of the datagram before.

    The handler reads that refusal, and opens another socket with the same descriptor. So the second event of the batch
    is reported to a socket without an error.
    """
    with bound() as peer:
        name = peer.getsockname()
    client = Client(reactor, name)
    earlier = Earlier(reactor, lambda: client.send(b"second"))
    earlier.writing.send(b"!")
    client.send(b"first")
    [refusing] = client.dialogue._attempts
    waiting = select.poll()
    waiting.register(refusing, 0)  # errors are always reported
    assert waiting.poll(30_000)
    with bound(name) as peer:
        reactor.doIteration(30)
        assert [error.errno for error in client.refused] == [errno.ECONNREFUSED]
        [opened] = client.dialogue._attempts
        assert opened is not refusing
        echo(peer)
        turn_until(reactor, lambda: client.session.datagrams)
    assert (client.session.datagrams, client.ends, client.sent) == ([b"second"], [], [1, 2])
    client.dialogue.close(None)
    earlier.close()


def test_an_error_that_is_over_does_not_end_the_session(reactor):
    """The send time that caused the event was read by a later send."""
    with bound() as peer:
        client = Client(reactor, peer.getsockname())
        [attempt] = client.dialogue._attempts
        attempt.stopReading()  # as the reactor does
        attempt.connectionLost(Failure(ConnectionDone()))
        client.send(b"one")
        echo(peer)
        turn_until(reactor, lambda: client.session.datagrams)
    assert (client.session.datagrams, client.ends) == ([b"one"], [])
    client.dialogue.close(None)


def test_the_end_of_the_reactor_ends_the_session(reactor):
    with bound() as peer:
        client = Client(reactor, peer.getsockname())
        [attempt] = client.dialogue._attempts
        attempt.connectionLost(Failure(ConnectionLost()))
    assert (client.ends, attempt.fileno()) == ([None], -1)


TOO_LONG = bytes(65_508)  # the kernel refuses to send it (EMSGSIZE), as a firewall refuses others


def test_an_error_ends_the_session_only_before_the_first_reply(reactor):
    with bound() as peer:
        client = Client(reactor, peer.getsockname())
        client.send(TOO_LONG)
        assert [error.errno for error in client.ends if error is not None] == [errno.EMSGSIZE]
        client = Client(reactor, peer.getsockname())
        client.send(b"one")
        echo(peer)
        turn_until(reactor, lambda: client.session.datagrams)
        client.send(TOO_LONG)
        assert [error.errno for error in client.refused] == [errno.EMSGSIZE]
        client.send(b"two")
        echo(peer)
        turn_until(reactor, lambda: len(client.session.datagrams) == 2)
    assert (client.session.datagrams, client.ends) == ([b"one", b"two"], [])
    client.dialogue.close(None)


def test_send_times_have_the_numbers_of_their_datagrams_after_an_outage(reactor):
    """The second and the third datagram are lost, because no socket can be opened."""
    is_down = False

    def prepare(_opened: socket.socket) -> None:
        if is_down:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    with bound() as peer:
        client = Client(reactor, peer.getsockname(), prepare)
        client.send(b"one")
        [attempt] = client.dialogue._attempts
        client.dialogue.failed(attempt, OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH)))
        is_down = True
        client.send(b"two")
        client.send(b"three")
        is_down = False
        client.send(b"four")
    assert [error.errno for error in client.refused] == [errno.ENETUNREACH] * 3
    assert client.sent == [1, 4]
    client.dialogue.close(None)


class FullQueue:
    """A socket whose next send fails because a queue of the kernel is full."""

    def __init__(self, opened: socket.socket, code: int) -> None:
        self._opened = opened
        self._code = code

    def send(self, data: bytes) -> int:
        code, self._code = self._code, 0
        if code:
            raise OSError(code, os.strerror(code))
        return self._opened.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS])
def test_a_full_queue_drops_one_datagram(code, reactor):
    with bound() as peer:
        client = Client(reactor, peer.getsockname())
        [attempt] = client.dialogue._attempts
        full: Any = FullQueue(attempt.socket, code)
        attempt.socket = full
        client.send(b"one")
        client.send(b"two")
        assert peer.recv(100) == b"two"
    assert (client.refused, client.ends, client.dialogue._attempts) == ([], [], [attempt])
    client.dialogue.close(None)
