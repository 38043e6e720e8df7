"""Sockets that share one reader of the reactor."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from select import EPOLLHUP, EPOLLIN, EPOLLOUT
from unittest import mock

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from echod.services.echo import Echo
from echod.transports import port_epoll
from echod.transports.port_epoll import A_TURN, SocketPoller
from tests.fastpath.listener import listener
from tests.fastpath.reactors import failures


class Reactor:
    """Keeps its readers in a list; the test runs its turns."""

    def __init__(self) -> None:
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        """As IReactorFDSet."""
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        """As IReactorFDSet."""
        self.readers.remove(reader)


class Socket:
    """One end of a pair, which records its calls; `peer` is the other end."""

    def __init__(self, poller: SocketPoller) -> None:
        self.socket, self.peer = socket.socketpair()
        self.socket.setblocking(False)
        self.watched = 0
        self.calls: list[object] = []
        self.closes: Socket | None = None  # another socket that doRead closes
        self.poller = poller
        poller.join(self)

    def fileno(self) -> int:
        """Its descriptor."""
        return self.socket.fileno()

    def doRead(self) -> None:
        """Read available data."""
        self.calls.append(self.socket.recv(100))
        if self.closes is not None:
            self.closes.close()
        if self.calls[-1] == b"bug":
            raise ValueError("a bug")

    def doWrite(self) -> None:
        """Record the call."""
        self.calls.append("write")

    def connectionLost(self, reason: Failure) -> None:
        """Record the reason, and close."""
        self.calls.append(reason.type)
        self.close()

    def close(self) -> None:
        """Close it as its owner does."""
        if self.fileno() != -1:
            self.poller.forget(self)
            self.socket.close()
            self.peer.close()


@pytest.fixture
def poller() -> Iterator[SocketPoller]:
    poller = SocketPoller(Reactor())
    assert poller.open()
    yield poller
    for each in tuple(poller._sockets.values()):
        each.connectionLost(Failure(ConnectionLost()))
    poller.keep(False)
    assert poller.fileno() == -1


def test_one_event_of_the_reactor_serves_every_socket_that_is_ready(poller):
    sockets = [Socket(poller) for _ in range(A_TURN + 10)]
    for each in sockets:
        poller.watch(each, EPOLLIN)
        each.peer.send(b"a")
    poller.doRead()
    assert sum(each.calls == [b"a"] for each in sockets) == A_TURN
    poller.doRead()
    assert all(each.calls == [b"a"] for each in sockets)


def test_a_socket_is_called_only_for_events_that_it_is_watched_for(poller):
    each = Socket(poller)
    each.peer.send(b"a")
    poller.doRead()
    assert each.calls == []
    poller.watch(each, EPOLLOUT)
    poller.doRead()
    assert each.calls == ["write"]
    poller.watch(each, EPOLLIN | EPOLLOUT)
    poller.doRead()
    assert each.calls == ["write", b"a", "write"]
    poller.watch(each, 0)
    each.peer.send(b"b")
    poller.doRead()
    assert each.calls == ["write", b"a", "write"]


@pytest.mark.parametrize(("events", "reason"), [(EPOLLIN, ConnectionDone), (EPOLLOUT, ConnectionLost)])
def test_a_hang_up_without_input_ends_a_socket(poller, events, reason):
    poller.keep(True)
    each = Socket(poller)
    poller.watch(each, events)
    with mock.patch.object(poller, "_epoll", mock.Mock(wraps=poller._epoll)) as epoll:
        epoll.poll.side_effect = lambda *_: [(each.fileno(), EPOLLHUP)]
        poller.doRead()
    assert each.calls == [reason]


def test_a_socket_that_another_one_closes_in_the_same_turn_is_not_called(poller):
    first, second = Socket(poller), Socket(poller)
    first.closes, second.closes = second, first
    for each in (first, second):
        poller.watch(each, EPOLLIN)
        each.peer.send(b"a")
    poller.doRead()
    assert [first.calls, second.calls].count([b"a"]) == 1
    assert [] in (first.calls, second.calls)


def test_a_bug_closes_one_socket_and_the_others_are_served(poller):
    sockets = [Socket(poller) for _ in range(3)]
    for each in sockets:
        poller.watch(each, EPOLLIN)
        each.peer.send(b"bug" if each is sockets[1] else b"a")
    with failures() as logged:
        poller.doRead()
    assert [each.calls for each in sockets] == [[b"a"], [b"bug", ValueError], [b"a"]]
    assert len(logged) == 1


def test_the_epoll_is_closed_after_the_last_socket_unless_it_is_kept():
    reactor = Reactor()
    poller = SocketPoller(reactor)
    for kept in (True, False):
        poller.keep(kept)
        assert poller.open()
        each = Socket(poller)
        poller.watch(each, 0)  # it pauses
        assert reactor.readers == [poller]
        each.close()
        assert bool(reactor.readers) is kept
    assert poller.fileno() == -1


def test_all_sockets_are_closed_when_the_reactor_ends():
    poller = SocketPoller(Reactor())
    assert poller.open()
    sockets = [Socket(poller) for _ in range(3)]
    poller.connectionLost(Failure(ConnectionLost()))
    assert [each.calls for each in sockets] == [[ConnectionLost]] * 3


def test_without_a_descriptor_for_an_epoll_the_reactor_watches_each_connection(tmp_path):
    with (
        listener("plain", "tcp", tmp_path, Echo()) as made,
        mock.patch.object(port_epoll, "epoll", side_effect=OSError(errno.EMFILE, "")),
    ):
        client = made.connect()
        client.send(b"hello")
        assert made.hear(client, 5) == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert made.rest(client) == b""
        assert made.port._poller.fileno() == -1
