"""The socket of a connection: `lost` is called once for every end, also for one that completes within `flush`."""

import socket

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from echod.socket_names import Inet
from echod.transports.layers.layer_interface import Facts
from echod.transports.stream_socket import StreamSocket
from echod.transports.write_retry import WriteRetry


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
