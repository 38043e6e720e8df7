"""TLS as a layer, between test sockets: both sides are the layer, or one side sends chosen bytes."""

import random
import ssl
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from echod.gate.handshakes import Handshakes
from echod.gate.work_budget import WorkBudget
from echod.model import PLAIN
from echod.socket_names import Inet
from echod.tls import issuing
from echod.tls.server import ServerContexts
from echod.transports.layers import tls_engine
from echod.transports.layers.layer_interface import Facts, HandshakeTimeout, ProtocolError
from echod.transports.layers.tls import TlsLayer
from echod.transports.layers.tls_record_queue import AT_ONCE, FREE, READ, RecordCost
from tests.contract.matrix import data
from tests.tls import V12, V13, authority, client_context, issued, server_contexts
from tests.turns import Turns
from tests.wire import Wire

SECONDS = 10.0
ALERT = bytes.fromhex("15 0301 0002 020a")


class Top:
    """A receiver that records its calls; with `echo` it returns every byte and the end; `pause_at` are counts."""

    def __init__(self, *, echo=False, pause_at=()):
        self.echo, self.pause_at = echo, set(pause_at)
        self.heard, self.calls, self.over = b"", [], None
        self.paused = False

    def begin(self, below):
        self.below = below

    def received(self, data, arrival=PLAIN):
        assert not self.paused
        self.heard += data
        self.calls.append(len(data))
        if self.echo:
            self.below.write(data)
        if len(self.calls) in self.pause_at:
            self.paused = True
            self.below.pause()

    def resume(self):
        self.paused = False
        self.below.resume()

    def ended(self):
        self.calls.append("ended")
        if self.echo:
            self.below.close()

    def stuck(self): ...

    def drained(self): ...

    def lost(self, reason):
        self.over = reason


class Side:
    """One side of a connection: the test socket, the layer, and the receiver above."""

    def __init__(self, context, top, clock, **options):
        self.top = top
        self.wire = Wire(Facts(Inet("127.0.0.1", 7), Inet("127.0.0.1", 40_000)))
        self.wire.receiver = self.layer = TlsLayer(lambda: top, clock, SECONDS, context, **options)
        self.delivered = 0
        self.ended = False

    def begin(self):
        self.layer.begin(self.wire)

    @property
    def error(self):
        return str(self.wire.facts.error)

    def waiting(self):
        """Bytes for the other side."""
        return self.wire.sent[self.delivered :]


class Pair:
    """A client and a server."""

    def __init__(
        self,
        version=V13,
        *,
        client=None,
        server=None,
        contexts=None,
        context=None,
        verify=None,
        **options,
    ):
        self.clock = Clock()
        contexts = contexts or server_contexts()
        self.server = Side(contexts.default, server or Top(echo=True), self.clock, **options)
        own = {"server_hostname": "localhost", "verify": verify}
        self.client = Side(context or client_context(version), client or Top(), self.clock, **own)
        self.server.begin()
        self.client.begin()

    def carry(self, size=1 << 20, sides=None):
        """Deliver up to `size` bytes in each direction. Returns whether anything happened."""
        happened = False
        for source, sink in sides or ((self.client, self.server), (self.server, self.client)):
            piece = source.waiting()[:size]
            reads = sink.wire.reads and sink.wire.ended not in ("closed", "reset")
            if piece and reads:
                source.delivered += len(piece)
                sink.layer.received(piece)
                happened = True
            elif not piece and source.wire.ended and reads and not source.ended:
                source.ended = happened = True
                sink.layer.ended()
        return happened

    def settle(self):
        """Deliver everything. Returns itself."""
        while self.carry():
            pass
        return self


@pytest.fixture(params=[V12, V13], ids=["1.2", "1.3"])
def version(request):
    return request.param


@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from([0, 1, 2, 100, 16_383, 16_384, 16_385, 50_000, 200_000]),
    is_13=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_connection_cut_anywhere_with_pauses_loses_nothing(seed, size, is_13):
    chance = random.Random(seed)
    source = data()[:size]
    pauses = {chance.randint(1, 20) for _ in range(4)}
    pair = Pair(V13 if is_13 else V12, server=Top(echo=True, pause_at=pauses), client=Top(pause_at=pauses))
    at, finished = 0, False
    for _ in range(200_000):
        if hasattr(pair.client.top, "below"):
            if at < size:
                piece = source[at : at + chance.choice([1, 1000, 16_384, 40_000])]
                pair.client.layer.write(piece)
                at += len(piece)
            elif not finished:
                finished = True
                pair.client.layer.finish()
        happened = pair.carry(chance.choice([1, 3, 100, 5_000, 70_000]))
        for side in (pair.client, pair.server):
            if side.top.paused and chance.random() < 0.3:
                side.top.resume()
                happened = True
        if finished and not happened and not (pair.client.top.paused or pair.server.top.paused):
            break
    assert pair.server.top.heard == pair.client.top.heard == source
    assert "ended" in pair.server.top.calls
    assert "ended" in pair.client.top.calls
    assert not pair.server.wire.facts.truncated
    assert not pair.client.wire.facts.truncated
    assert not pair.clock.getDelayedCalls()


def test_both_sides_learn_the_facts_of_the_handshake(version):
    pair = Pair(version, contexts=ServerContexts([issued("localhost")], alpn=["echo", "x"]))
    pair.settle()
    for side in (pair.server, pair.client):
        learned = side.wire.facts.learned["tls"]
        assert learned["version"] == ("TLSv1.2" if version is V12 else "TLSv1.3")
        assert learned["server_name"] == "localhost"
        assert learned["resumed"] is False
    assert "certificate" not in pair.server.wire.facts.learned["tls"]


def test_a_client_certificate_is_among_the_facts(tmp_path, version):
    contexts = ServerContexts([issued("localhost")], authorities=authority().certificate_pem.decode(), required=True)
    client = issuing.client(authority(), 'Ålice, "tester"', datetime.now(UTC))
    (tmp_path / "client.pem").write_bytes(client.certificate_pem + client.key_pem)
    context = client_context(version)
    context.load_cert_chain(tmp_path / "client.pem")
    context.set_alpn_protocols(["echo"])
    pair = Pair(context=context, contexts=contexts)
    pair.settle()
    learned = pair.server.wire.facts.learned["tls"]["certificate"]
    assert learned["subject"] == r"CN=Ålice\, \"tester\""
    assert len(learned["sha256"]) == 64
    pair = Pair(version, contexts=contexts)
    pair.settle()
    assert pair.server.error == "it sent no certificate"
    assert not pair.server.top.calls
    assert pair.client.wire.facts.error is not None


PROXIED = "it sent a PROXY header, and the address has no ?proxy="


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", "it sent the text 'GET / HTTP/1.1'"),
        (b"hello\n", "it sent the text 'hello'"),
        (b"\x16", None),
        (b"\x16\x03\x01\x02\x00", None),
        (b"\x16\x02\x01\x02\x00\x01", "it sent the bytes 16 02 01 02 00 01"),
        (b"\x16\x03\x01\xff\xff\x01", "it sent the bytes 16 03 01 ff ff 01"),
        (b"\x16\x03\x01\x02\x00\x02", "it sent the bytes 16 03 01 02 00 02"),
        (b"\x80\x2e\x01\x03\x01", "it sent the bytes 80 2e 01 03 01"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", PROXIED),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", PROXIED),
        (b"\x1b[2J\xff", "it sent the bytes 1b 5b 32 4a ff"),
    ],
    ids=["http", "text", "1 byte", "5 bytes", "version 2", "oversized", "no hello", "SSL 2", "v1", "v2", "terminal"],
)
def test_a_server_begins_a_handshake_only_after_a_plausible_hello(first, words):
    handshakes = Handshakes()
    pair = Pair(handshakes=handshakes)
    for piece in [bytes([byte]) for byte in first] if words is None else [first]:
        pair.server.layer.received(piece)
    assert len(handshakes) == 0
    if words is None:
        assert (pair.server.wire.sent, pair.server.wire.ended) == (b"", "")
    else:
        assert (pair.server.wire.sent, pair.server.wire.ended) == (ALERT, "closed")
        assert pair.server.error == f"it does not speak TLS: {words}"
        assert len(pair.clock.getDelayedCalls()) == 1  # the client's


@pytest.mark.parametrize("name", [b"\xffocalhost", b"localhos\x80"], ids=range(2))
def test_a_server_name_that_is_not_ascii_ends_the_handshake_without_a_traceback(name, version, monkeypatch):
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    pair = Pair(version)
    pair.server.layer.received(pair.client.waiting().replace(b"localhost", name))
    assert pair.server.error == "it asked for a server name that is not ASCII"
    assert pair.server.wire.ended == "closed"
    assert printed == []


@pytest.mark.parametrize("sent", [0, 1, 100], ids=["silent", "1 byte", "100 bytes"])
def test_a_handshake_has_a_deadline_that_no_byte_extends(sent):
    handshakes = Handshakes()
    pair = Pair(handshakes=handshakes)
    for byte in pair.client.waiting()[:sent]:
        pair.server.layer.received(bytes([byte]))
        pair.clock.advance(SECONDS / 1000)
    pair.clock.advance(SECONDS)
    assert pair.server.wire.ended == "reset"
    assert isinstance(pair.server.wire.facts.error, HandshakeTimeout)
    assert pair.server.wire.reason is not None
    pair.server.layer.lost(pair.server.wire.reason)
    assert len(handshakes) == 0
    assert not pair.server.top.calls


def test_above_the_bound_the_oldest_unfinished_handshake_is_ended():
    handshakes = Handshakes(2)
    pairs = [Pair(handshakes=handshakes) for _ in range(3)]
    for pair in pairs:
        pair.carry(sides=((pair.client, pair.server),))
    assert [pair.server.wire.ended for pair in pairs] == ["reset", "", ""]
    assert isinstance(pairs[0].server.wire.reason, HandshakeTimeout)
    assert len(handshakes) == 2
    for pair in pairs[1:]:
        pair.settle()
    assert len(handshakes) == 0
    assert [hasattr(pair.server.top, "below") for pair in pairs] == [False, True, True]


def test_a_turn_begins_as_many_handshakes_as_the_work_budget_allows():
    turns = Turns()
    work = WorkBudget(turns.later)
    pairs = [Pair(work=work) for _ in range(5)]
    for pair in pairs:
        pair.carry(sides=((pair.client, pair.server),))
    begun = [bool(pair.server.wire.sent) for pair in pairs]
    assert begun == [True, True, False, False, False]
    assert [pair.server.wire.reads for pair in pairs] == begun
    pairs[3].server.layer.lost(ConnectionDone())
    turns.all()
    assert [bool(pair.server.wire.sent) for pair in pairs] == [True, True, True, False, True]
    for pair in (pairs[0], pairs[4]):
        pair.settle()
        assert hasattr(pair.client.top, "below")


def small_records(pair, count):
    """Send `count` records of one byte from the client."""
    for _ in range(count):
        pair.client.layer.write(b"x")
    records = pair.client.waiting()
    pair.client.delivered += len(records)
    return records


def test_many_small_records_of_one_read_wait_for_the_work_budget(version):
    turns = Turns()
    pair = Pair(version, server=Top(), work=WorkBudget(turns.later)).settle()
    turns.all()
    layer, top, wire = pair.server.layer, pair.server.top, pair.server.wire
    layer.received(small_records(pair, FREE))
    assert (len(top.heard), wire.reads) == (FREE, True)
    layer.received(small_records(pair, 1000))
    first = len(top.heard)
    assert FREE < first < 1000
    assert not wire.reads
    layer.resume()  # the level above may read, but the budget does not permit it
    layer.ended()
    assert (len(top.heard), wire.reads) == (first, False)
    turns.turn()
    assert first < len(top.heard) < 1000
    turns.all()
    assert top.heard == b"x" * (FREE + 1000)
    assert top.calls[-1] == "ended"
    assert wire.reads


def test_records_without_data_cost_more_of_the_work_budget():
    turns = Turns()
    cost = RecordCost(WorkBudget(turns.later, portion=256, turn=512))
    cost.begin_read()
    pieces = 0
    while cost.permits_more():
        cost.count(AT_ONCE, 0)
        pieces += 1
    assert pieces == 1
    turns.all()
    cost.begin_read()
    pieces = 0
    while cost.permits_more():
        cost.count(AT_ONCE, AT_ONCE)
        pieces += 1
    assert pieces == 1 + 4


def test_a_closed_connection_leaves_the_work_budget():
    turns = Turns()
    work = WorkBudget(turns.later)
    pair = Pair(server=Top(), work=work).settle()
    pair.server.layer.received(small_records(pair, 1000))
    assert work.waiting == 1
    pair.server.layer.lost(ConnectionDone())
    assert work.waiting == 0


def test_a_reply_continues_after_the_peers_close_notify(version):
    pair = Pair(version, server=Top()).settle()
    pair.client.layer.finish()
    pair.settle()
    assert pair.server.top.calls == ["ended"]
    reply = data()[:1_000_000]
    pair.server.layer.write(reply)
    pair.server.layer.close()
    pair.settle()
    assert pair.client.top.heard == reply
    assert pair.client.top.calls[-1] == "ended"


def test_bytes_after_the_peers_close_notify_are_ignored(version):
    pair = Pair(version).settle()
    pair.client.layer.write(b"hello")
    pair.client.layer.finish()
    pair.client.wire.sent += b"garbage, not a record" * 1000
    pair.settle()
    assert pair.client.top.heard == b"hello"
    assert pair.server.wire.facts.error is None


def test_a_fin_without_close_notify_is_the_end_and_a_fact(version):
    pair = Pair(version).settle()
    pair.client.layer.write(b"hello")
    pair.client.wire.ended = "half"
    pair.settle()
    assert pair.server.wire.facts.truncated
    assert pair.server.top.calls == [5, "ended"]
    assert pair.client.top.heard == b"hello"


def test_a_server_chooses_the_context_by_the_first_record():
    """With the only group of the default context, the server would ask for another hello."""
    contexts = server_contexts()
    pair = Pair(choose=contexts.context_for_hello)
    everything = pair.client.waiting()
    for at in range(len(everything)):
        assert not pair.server.wire.sent
        pair.server.layer.received(everything[at : at + 1])
    pair.client.layer.received(pair.server.waiting())
    assert hasattr(pair.client.top, "below")


def test_a_fin_within_the_handshake_closes(version):
    pair = Pair(version)
    pair.server.layer.received(pair.client.waiting()[:50])
    pair.server.layer.ended()
    assert pair.server.wire.ended == "closed"
    assert pair.server.wire.facts.error is None
    assert not hasattr(pair.server.top, "below")


def test_pause_acts_between_two_pieces_that_arrived_together(version):
    pair = Pair(version, server=Top(pause_at=[1, 2]))
    pair.settle()
    for _ in range(3):
        pair.client.layer.write(data()[:60_000])
    pair.client.layer.finish()
    everything = pair.client.waiting()
    pair.client.delivered += len(everything)
    pair.server.layer.received(everything)
    pair.server.layer.ended()
    heard = [len(pair.server.top.heard)]
    assert not pair.server.wire.reads
    for _ in range(2):
        assert pair.server.top.paused
        pair.server.top.resume()
        heard.append(len(pair.server.top.heard))
    assert heard[0] < heard[1] < heard[2] == 180_000
    assert pair.server.top.calls[-1] == "ended"
    assert pair.server.wire.reads


def test_large_reads_are_decoded_in_linear_time(monkeypatch):
    """The incoming BIO gets one record at a time: it never gives memory back."""
    pair = Pair()
    pair.settle()
    pair.client.layer.write(data()[: 4 << 20])
    fed = []
    incoming = tls_engine._INCOMING

    class Observed:
        def write(self, piece):
            fed.append(len(piece))
            return incoming.write(piece)

        def __getattr__(self, name):
            return getattr(incoming, name)

    monkeypatch.setattr(tls_engine, "_INCOMING", Observed())
    pair.settle()
    assert max(fed) <= READ
    assert pair.server.layer._queue._data == b"", "the layer keeps what it has decoded"
    assert pair.client.top.heard == data()[: 4 << 20]


def left_in_bios():
    return tls_engine._INCOMING.pending, tls_engine._OUTGOING.pending


def test_connections_that_interleave_do_not_share_bytes(version):
    """They share two BIOs, which every call leaves empty: after a cut record, an error, or data after the end."""
    pairs = [Pair(version).settle() for _ in range(3)]
    for turn in range(20):
        for number, pair in enumerate(pairs):
            pair.client.layer.write(bytes([number]) * (5_000 * turn + 1))
        for size in (3, 7_000, 100_000):
            for pair in pairs:
                pair.carry(size)
                assert left_in_bios() == (0, 0)
    pairs[0].client.wire.sent += b"\x17\x03\x03\x00\x40" + bytes(64) * 100
    pairs[1].client.layer.finish()
    pairs[1].client.wire.sent += bytes(1000)
    pairs[2].client.layer.write(b"\x02")
    for pair in pairs:
        pair.settle()
        assert left_in_bios() == (0, 0)
    assert pairs[0].server.error == "a record is damaged"
    for number, pair in enumerate(pairs):
        heard = pair.server.top.heard
        assert heard == bytes([number]) * len(heard)
        assert pair.client.top.heard == heard or number == 0
        assert len(heard) == sum(5_000 * turn + 1 for turn in range(20)) + (number == 2)


def test_unsent_messages_of_the_protocol_are_not_0(version):
    """Otherwise `stall` would not limit a peer that requests new keys, and does not read."""
    pair = Pair(version, client=Top(), server=Top())
    pair.settle()
    pair.server.wire.unsent = 27  # a KeyUpdate
    assert pair.server.layer.unsent == 1
    pair.server.layer.write(b"x")
    assert pair.server.layer.unsent == 1
    pair.server.wire.unsent = 0
    assert pair.server.layer.unsent == 0


def test_unsent_is_never_too_little_and_0_at_the_end(version):
    pair = Pair(version, client=Top(), server=Top())
    pair.settle()
    wire, layer = pair.server.wire, pair.server.layer
    assert layer.unsent == 0
    wire.room = 0
    layer.write(b"x" * 100)
    assert layer.unsent == 100
    layer.write(b"y" * 40_000)
    assert 40_100 <= layer.unsent <= 40_100 + 3 * 29
    wire.unsent = 10  # the kernel has accepted the rest
    assert layer.unsent == 10
    wire.unsent = 0
    assert layer.unsent == 0


@pytest.mark.parametrize("end", ["close", "finish"])
def test_an_orderly_end_sends_close_notify_and_nothing_after_it(end, version):
    pair = Pair(version, server=Top()).settle()
    getattr(pair.server.layer, end)()
    pair.server.layer.write(b"too late")
    pair.settle()
    assert pair.client.top.calls == ["ended"]
    assert not pair.client.wire.facts.truncated


def test_a_reset_sends_nothing(version):
    pair = Pair(version, server=Top()).settle()
    before = pair.server.wire.sent
    pair.server.layer.abort()
    pair.server.layer.write(b"too late")
    pair.server.layer.finish()
    assert pair.server.wire.sent == before


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"\x17\x03\x03\x00\x40" + bytes(64), "a record is damaged"),
        (b"\x17\x03\x03\xff\xff" + bytes(64), "a record is longer than TLS allows"),
        (b"hello, this is not a record", None),
    ],
    ids=["damaged", "oversized", "text"],
)
def test_a_wrong_record_ends_the_connection_after_an_alert(record, words, version):
    pair = Pair(version).settle()
    pair.client.layer.write(b"before")
    pair.client.wire.sent += record
    before = len(pair.server.wire.sent)
    pair.carry(sides=((pair.client, pair.server),))
    assert pair.server.top.heard == b"before"
    assert len(pair.server.wire.sent) > before
    assert pair.server.wire.ended == "closed"
    assert isinstance(pair.server.wire.facts.error, ProtocolError)
    assert words is None or pair.server.error == words
    pair.server.layer.lost(ConnectionDone())
    assert isinstance(pair.server.top.over, ProtocolError)
    pair.carry(sides=((pair.server, pair.client),))
    assert "alert" in pair.client.error


def test_a_client_that_does_not_verify_the_server_begins_nothing(version):
    def verify(tls):
        raise ProtocolError(f"not {tls.version()}")

    client = Pair(version, verify=verify).settle().client
    assert client.error.startswith("not TLSv1.")
    assert client.wire.ended == "closed"
    assert not hasattr(client.top, "below")


def test_a_client_that_does_not_trust_the_certificate_sends_an_alert(version):
    context = client_context(version)
    context.verify_mode = ssl.CERT_REQUIRED
    pair = Pair(context=context).settle()
    assert pair.client.error == "its certificate is not accepted: self-signed certificate"
    assert pair.server.error == "it sent the alert unknown_ca"
