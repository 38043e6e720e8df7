"""The socket of a connection: `lost` is called once for every end, also for one that completes within `flush`."""

import errno
import socket

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from echod.socket_names import Inet
from echod.transports.kernel_socket import unacknowledged
from echod.transports.layers.layer_interface import LINGER, Facts, LingerTimeout
from echod.transports.stream_socket import RESET_ON_CLOSE, StreamSocket
from echod.transports.write_retry import WriteRetry
from tests.daemon import eventually


class Turns:
    """A watcher whose turns the test runs."""

    def __init__(self):
        self.calls = []

    def join(self, socket):
        socket.watched = 0

    def watch(self, socket, events):
        socket.watched = events

    def forget(self, socket):
        socket.watched = 0

    def soon(self, call):
        self.calls.append(call)

    def run(self):
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class Receiver:
    """Records its calls."""

    def __init__(self):
        self.calls = []

    def begin(self, below):
        self.below = below

    def received(self, data, _arrival=None):
        self.calls.append(data)

    def stuck(self):
        self.calls.append("stuck")

    def drained(self):
        self.calls.append("drained")

    def ended(self):
        self.calls.append("ended")

    def lost(self, reason):
        self.calls.append(type(reason))


@pytest.fixture
def ends():
    """A started StreamSocket, its receiver and watcher, and the peer's socket."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    watcher, receiver, clock = Turns(), Receiver(), Clock()
    facts = Facts(Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000))
    opened = StreamSocket(watcher, ours, facts, receiver, clock, WriteRetry(clock))
    opened.start()
    with peer, ours:
        yield opened, receiver, watcher, peer


class Reasons(Receiver):
    """Records the reasons of the end."""

    def lost(self, reason):
        self.calls.append(reason)


class Peer:
    """A connection over TCP: a started StreamSocket, the reasons of its end, and the socket of the peer."""

    def __enter__(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # of the peer
            ours = socket.create_connection(listener.getsockname())
            self.socket, _ = listener.accept()
        ours.setblocking(False)
        self.watcher, receiver, self.clock = Turns(), Reasons(), Clock()
        self.reasons = receiver.calls
        facts = Facts(Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000))
        self.opened = StreamSocket(self.watcher, ours, facts, receiver, self.clock, WriteRetry(self.clock))
        self.opened.start()
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.opened.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.socket.close()

    def has_waited(self):
        """Let the linger time pass; whether the connection has been reset for it."""
        self.clock.advance(LINGER)
        self.watcher.run()
        return isinstance(self.reasons[-1], LingerTimeout)

    @property
    def numbers(self):
        return [getattr(reason, "osError", 0) for reason in self.reasons]


@pytest.mark.parametrize("seen_by", ["read", "hang-up"])
def test_a_reset_has_the_error_of_the_system(seen_by):
    with Peer() as peer:
        peer.reset()
        if seen_by == "read":
            peer.opened.doRead()
        else:
            peer.opened.connectionLost(Failure(ConnectionLost()))
        assert peer.numbers == [errno.ECONNRESET]


def test_a_write_after_a_reset_has_the_error_of_the_system():
    with Peer() as peer:
        peer.reset()
        peer.opened.write(b"x")
        peer.opened.flush()
        peer.watcher.run()
        assert peer.numbers == [errno.ECONNRESET]


def test_a_hang_up_without_an_error_has_none():
    with Peer() as peer:
        peer.opened.connectionLost(Failure(ConnectionLost()))
        assert peer.numbers == [0]


def test_a_close_that_completes_within_a_flush_is_reported(ends):
    opened, receiver, watcher, peer = ends
    peer.shutdown(socket.SHUT_WR)
    opened.doRead()
    opened.write(b"the last bytes")
    opened.close()
    opened.flush()
    assert receiver.calls == ["ended"], "not within a call of the level above"
    watcher.run()
    assert receiver.calls == ["ended", ConnectionDone]
    assert peer.recv(100) == b"the last bytes"
    assert peer.recv(100) == b""


def test_a_peer_that_reads_slowly_gets_everything_after_the_linger_time():
    data = bytes(range(256)) * 4096
    with Peer() as peer:
        opened = peer.opened
        opened.write(data)
        opened.close()
        came = b""
        while opened.unsent:  # then the kernel has the rest, and the FIN
            opened.doWrite()
            came += peer.socket.recv(65_536)
        while before := unacknowledged(opened.socket):
            while unacknowledged(opened.socket) == before:
                came += peer.socket.recv(65_536)
            peer.clock.advance(LINGER)
        while piece := peer.socket.recv(65_536):
            came += piece
        assert came == data
        assert eventually(peer.has_waited)


def test_a_peer_that_reads_nothing_is_reset_after_the_linger_time():
    with Peer() as peer:
        opened = peer.opened
        opened.write(bytes(131_072))
        opened.close()
        while opened.unsent:
            opened.doWrite()
        assert eventually(peer.has_waited)
