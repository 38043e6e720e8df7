"""The interface between levels of a connection, with a test socket below and a receiver above."""

import socket
from contextlib import suppress

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from echod.model import PLAIN
from echod.socket_names import Inet
from echod.transports.handshake_slot import Entrance
from echod.transports.kernel_socket import unacknowledged
from echod.transports.layers.layer_interface import LINGER, HandshakeTimeout, Layer, stacked
from echod.transports.twisted_connection import TwistedSocket
from tests.daemon import eventually
from tests.layers import HANDSHAKE, Name, Staying
from tests.wire import Wire


class Above:
    """A receiver that records its calls, and may pause when it begins."""

    def __init__(self, pauses=False):
        self.pauses = pauses
        self.told = []

    def begin(self, below):
        self.below = below
        self.told.append("begin")
        if self.pauses:
            below.pause()

    def received(self, data, arrival=PLAIN):
        self.told.append(data)

    def ended(self):
        self.told.append("ended")

    def stuck(self):
        self.told.append("stuck")

    def drained(self):
        self.told.append("drained")

    def lost(self, reason):
        self.told.append(type(reason))


class Made:
    """A stack, its socket, and the receiver above after it is built."""

    def __init__(self, *layers, pauses=False):
        self.clock = Clock()
        self.above = []
        self.wire = Wire()

        def top():
            self.above.append(Above(pauses))
            return self.above[0]

        makers = [lambda build, kind=kind: self._layer(kind, build) for kind in layers]
        self.wire.receiver = stacked(makers, top)()
        self.wire.receiver.begin(self.wire)

    def _layer(self, kind, build):
        return kind(build) if kind is Layer else kind(build, self.clock, HANDSHAKE)

    @property
    def told(self):
        return self.above[0].told


@pytest.mark.parametrize("count", [0, 1, 3])
def test_empty_layers_pass_everything_on(count):
    made = Made(*[Layer] * count)
    below = made.above[0].below
    made.wire.receiver.received(b"x")
    made.wire.receiver.stuck()
    made.wire.receiver.drained()
    made.wire.receiver.ended()
    below.write(b"y")
    below.flush()
    below.read_at_once(5)
    below.clamp()
    reads = []
    for verb in (below.pause, below.resume):
        verb()
        reads.append(made.wire.reads)
    assert reads == [False, True]
    made.wire.unsent, made.wire.dropped = 7, 8
    assert (below.unsent, below.dropped, below.facts) == (7, 8, made.wire.facts)
    for name, ended in (("finish", "half"), ("close", "closed"), ("abort", "reset")):
        getattr(below, name)()
        assert made.wire.ended == ended
    made.wire.receiver.lost(ConnectionDone())
    assert made.told == ["begin", b"x", "stuck", "drained", "ended", ConnectionDone]
    assert made.wire.calls == [("write", b"y"), ("flush",), ("read_at_once", 5), ("clamp",)]


def test_the_receiver_is_built_only_after_the_handshake():
    made = Made(Name, Layer)
    made.wire.receiver.received(b"NAME 192.0.2.1")
    made.wire.receiver.stuck()
    made.wire.receiver.ended()
    assert (len(made.above), made.wire.ended) == (0, "closed")
    made.wire.receiver.lost(ConnectionDone())
    assert len(made.above) == 0
    assert not made.clock.getDelayedCalls()


@pytest.mark.parametrize("cut", range(1, 26))
def test_a_handshake_may_be_split_anywhere_and_the_rest_is_passed_up(cut):
    made = Made(Name)
    said = b"NAME 192.0.2.1 99\nand more"
    for piece in (said[:cut], said[cut:]):
        made.wire.receiver.received(piece)
    assert (made.told[0], b"".join(made.told[1:])) == ("begin", b"and more")
    assert str(made.wire.facts.remote) == "192.0.2.1:99"
    assert not made.clock.getDelayedCalls()


def test_a_removed_layer_is_not_called():
    made = Made(Name)
    made.wire.receiver.received(b"NAME 192.0.2.1 99\n")
    assert made.wire.receiver is made.above[0]
    assert made.above[0].below is made.wire


def test_data_held_by_a_layer_waits_while_the_receiver_pauses():
    made = Made(Name, pauses=True)
    made.wire.receiver.received(b"NAME 192.0.2.1 99\nrest")
    assert (made.told, made.wire.reads) == (["begin"], False)
    made.above[0].below.resume()
    assert (made.told, made.wire.reads) == (["begin", b"rest"], True)


def test_data_held_by_a_layer_is_dropped_on_close():
    made = Made(Name, pauses=True)
    made.wire.receiver.received(b"NAME 192.0.2.1 99\nrest")
    made.above[0].below.close()
    made.above[0].below.resume()
    assert made.told == ["begin"]


def test_a_deadline_is_absolute_and_its_reason_is_reported():
    made = Made(Name)
    for byte in b"NAME 192":
        made.clock.advance(HANDSHAKE / 8 - 0.01)
        made.wire.receiver.received(bytes([byte]))
    assert made.wire.ended == ""
    made.clock.advance(1)
    assert (made.wire.ended, type(made.wire.reason)) == ("reset", HandshakeTimeout)


def test_a_handshake_that_ends_within_begin_builds_the_receiver():
    made = Made(Staying, Layer, Staying)
    assert made.told == ["begin"]
    assert not made.clock.getDelayedCalls()


def test_an_entrance_whose_socket_fails_before_it_begins_is_turned_away():
    turned_away = []
    entrance = Entrance(
        (Layer,), b"", Inet("127.0.0.1", 7), False, lambda _: None, lambda _: Above(), turned_away.append
    )
    entrance.lost(ConnectionDone())
    assert turned_away == [entrance]


class Pulling:
    """A Twisted transport with a pull producer, whose data the kernel accepts when the test calls for it."""

    def __init__(self):
        self.held = b""
        self.producer = None
        self.done = []

    def getHost(self):
        return self

    getPeer = getHost
    host, port, scopeID, socket = "127.0.0.1", 7, 0, None

    def registerProducer(self, producer, streaming):
        assert not streaming
        self.producer = producer
        producer.resumeProducing()

    def unregisterProducer(self):
        self.producer = None

    def write(self, data):
        self.held += data

    def take(self):
        """Let the kernel accept all data."""
        self.held = b""
        self.producer.resumeProducing()

    def __getattr__(self, name):
        return lambda *given: self.done.append(name)


def test_unsent_on_a_twisted_connection_is_never_too_small():
    above, transport = Above(), Pulling()
    level = TwistedSocket(lambda: above, Clock())
    level.makeConnection(transport)
    level.read_at_once(10)
    for count in range(1, 5):
        level.write(b"four")
        assert level.unsent == 4 * count >= len(transport.held)
    assert above.told == ["begin", "stuck"]
    level.finish()
    transport.take()
    assert (level.unsent, transport.held, above.told) == (12, b"four" * 3, ["begin", "stuck"])
    assert "loseWriteConnection" not in transport.done
    transport.take()
    assert (level.unsent, transport.producer, above.told) == (0, None, ["begin", "stuck", "drained"])
    assert "loseWriteConnection" in transport.done
    level.write(b"after the end")
    assert level.unsent == 0


def test_a_twisted_connection_is_reset_only_when_the_peer_takes_no_more_data():
    clock, transport = Clock(), Pulling()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # of the peer
        opened = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()

    def has_aborted():
        clock.advance(LINGER)
        return "abortConnection" in transport.done

    with peer, opened:
        vars(transport)["socket"] = opened
        opened.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                opened.send(bytes(65_536))
        level = TwistedSocket(Above, clock)
        level.makeConnection(transport)
        level.close()
        level.writeConnectionLost()
        before = unacknowledged(opened)
        while unacknowledged(opened) >= before:
            peer.recv(8192)
        assert not has_aborted()
        assert eventually(has_aborted)
