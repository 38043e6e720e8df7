"""TLS behaves alike on both paths, and the fast path gives back each connection that it cannot carry."""

import random
import socket
import ssl
from ipaddress import ip_network

import pytest

from echod.events import Closing
from echod.fastpath.stream_lane import StreamLane
from echod.gate.access import Access
from echod.services.echo import Echo
from echod.services.upper import Upper
from echod.socket_names import Inet
from echod.transports.layers.proxy_header import version_2
from echod.transports.layers.tls_engine import TlsEngine
from echod.transports.layers.tls_record_queue import FREE
from echod.transports.stream_port import StreamPort
from tests.contract.matrix import MIB, data
from tests.fastpath.clients import reset
from tests.fastpath.listener import IDLE, STALL, needs_the_plane, unsent
from tests.fastpath.tls_client import Client
from tests.tls import V12, V13

PROXIES = Access([ip_network("127.0.0.0/8")])
each_service = pytest.mark.parametrize("service", [Echo, Upper])
fast_only = pytest.mark.parametrize("way", [pytest.param("tls and plane", marks=needs_the_plane)])


@pytest.fixture(params=["tls", pytest.param("tls and plane", marks=needs_the_plane)])
def way(request):
    return request.param


@pytest.fixture
def scheme():
    return "tcp"


@pytest.fixture(params=[V12, V13], ids=["1.2", "1.3"])
def version(request):
    return request.param


def is_fast(made):
    return isinstance(made.port, StreamLane) and bool(made.port._hosts)


def over(made, reason, came=None):
    """Check the counters after the end of the only connection."""
    made.until(lambda: made.counters.open == 0)
    assert made.counters.closed == {reason: 1}
    if came is not None:
        assert (made.counters.bytes_in, made.counters.bytes_out) == (came, came)


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 2 * MIB])
@each_service
def test_half_close_loses_nothing(make, service, size, version):
    with make(service(), stall=0.0, idle=0.0) as made:
        client = Client(made, version).shake()
        assert is_fast(made) is isinstance(made.port, StreamLane)
        source = data()[:size]
        client.write(source)
        client.finish()
        assert client.rest() == service.transform(source)
        assert (client.ended, client.end) == (True, b"FIN")
        client.socket.shutdown(socket.SHUT_WR)
        over(made, Closing.DONE, size)


@pytest.mark.parametrize("ends", [False, True], ids=["data", "data and the end"])
def test_data_in_the_segment_of_the_last_message_of_the_handshake_is_served(make, version, ends):
    with make(Echo()) as made:
        client = Client(made, version).shake(send_last=False)
        client.write(b"hello")
        if ends:
            client.finish()
        client.until(lambda: client.heard == b"hello")
        if not ends:
            client.write(b", world")
            client.finish()
        assert client.rest() == (b"hello" if ends else b"hello, world")
        client.socket.close()
        over(made, Closing.DONE, len(client.heard))


def test_records_cut_anywhere_are_served(make, version):
    chance = random.Random(19)
    with make(Echo()) as made:
        client = Client(made, version).shake()
        source = data()[:100_000]
        at = 0
        while at < len(source):
            piece = source[at : at + chance.choice([1, 50, 3_000, 20_000])]
            at += len(piece)
            client.write(piece)
        everything, client.output = bytes(client.output), bytearray()
        at = 0
        while at < len(everything):
            piece = everything[at : at + chance.choice([1, 2, 5, 21, 500, 5_000, 30_000])]
            at += len(piece)
            client.output += piece
            client.until(lambda: not client.output)
        client.finish()
        assert client.rest() == source
        client.socket.close()
        over(made, Closing.DONE, len(source))


def test_a_client_that_does_not_read_is_not_read_from_and_gets_everything_later(make, version):
    with make(Echo(), stall=0.0) as made:
        client = Client(made, version, narrow=True).shake()
        client.write(data()[: 4 * MIB])
        client.finish()
        before = -1
        while before != len(client.output):
            before = len(client.output)
            for _ in range(5):
                client.turn(read=False)
        assert client.output
        assert 0 < unsent(made) < 3 * made.factory.limits.buffer
        [told] = made.factory.describe_connections()
        assert 0 <= told["bytes_in"] - told["bytes_out"] <= told["unsent"] <= unsent(made)
        assert client.rest() == data()[: 4 * MIB]
        client.socket.close()
        over(made, Closing.DONE, 4 * MIB)


def test_a_client_that_reads_nothing_for_stall_is_reset(make, version):
    with make(Echo()) as made:
        client = Client(made, version, narrow=True).shake()
        client.write(data()[:MIB])
        for _ in range(30):
            client.turn(read=False)
        assert unsent(made)
        made.pass_time(STALL + 2)
        over(made, Closing.STALL)
        assert made.counters.bytes_out <= made.counters.bytes_in
        client.output.clear()
        client.until(lambda: client.end)
        assert not client.ended


def test_idle_sends_close_notify_and_a_fin(make, version):
    with make(Echo()) as made:
        client = Client(made, version).shake()
        client.write(b"hello")
        client.until(lambda: client.heard)
        made.pass_time(IDLE + 2)
        assert client.rest() == b"hello"
        assert (client.ended, client.end) == (True, b"FIN")
        over(made, Closing.IDLE, 5)


@pytest.mark.parametrize("held", [0, 20_000], ids=["idle", "with pending output"])
def test_a_stop_drains_connections(make, version, held):
    with make(Echo(), stall=0.0) as made:
        client = Client(made, version, narrow=True).shake()
        client.write(data()[:MIB] if held else b"hello")
        if held:
            for _ in range(30):
                client.turn(read=False)
            assert unsent(made)
        else:
            client.until(lambda: client.heard)
        made.stop()
        assert len(made.factory.conversations) == 1
        client.write(b"still here")
        client.finish()
        assert client.rest() == (data()[:MIB] if held else b"hello") + b"still here"
        assert client.ended
        client.socket.close()
        over(made, Closing.DONE, len(client.heard))


@fast_only
def test_close_notify_with_a_fin_ends_a_connection_on_the_fast_path(make, version, monkeypatch):
    with make(Echo()) as made:
        client = Client(made, version).shake()
        client.write(b"hello")
        client.until(lambda: client.heard)
        monkeypatch.setattr(StreamPort, "take_over", None)
        client.finish()
        client.socket.send(client.output)
        client.output.clear()
        client.socket.shutdown(socket.SHUT_WR)
        assert client.rest() == b"hello"
        assert (client.ended, client.end) == (True, b"FIN")
        over(made, Closing.DONE, 5)


@pytest.mark.parametrize("size", [1, 100_000])
def test_bytes_after_close_notify_are_ignored(make, version, size):
    with make(Echo()) as made:
        client = Client(made, version).shake()
        client.write(data()[:50_000])
        client.finish()
        client.output += bytes(size)
        client.until(lambda: not client.output or client.end)
        assert client.rest() == data()[:50_000]
        assert (client.ended, client.end) == (True, b"FIN")
        client.socket.close()
        made.until(lambda: made.counters.open == 0)
        assert set(made.counters.closed) <= {Closing.DONE, Closing.LOST}


@fast_only
def test_many_small_records_in_one_read_are_left_to_the_work_budget(make, version):
    with make(Echo()) as made:
        client = Client(made, version).shake()
        for turn in range(2):
            for _ in range(FREE if turn == 0 else 30 * FREE):
                client.write(b"x")
            client.until(lambda: not client.output)
            made.turn()
            assert is_fast(made) is (turn == 0)
        client.finish()
        assert client.rest() == b"x" * 31 * FREE
        client.socket.close()
        over(made, Closing.DONE, 31 * FREE)


def test_a_wrong_record_is_answered_by_an_alert(make, version):
    with make(Echo()) as made:
        client = Client(made, version).shake()
        client.write(b"before")
        client.until(lambda: client.heard)
        client.output += b"\x17\x03\x03\x00\x40" + bytes(64)
        with pytest.raises(ssl.SSLError, match="(?i)alert"):
            client.rest()
        client.socket.close()
        over(made, Closing.PROTOCOL, 6)


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_an_end_without_close_notify(make, version, how):
    with make(Echo()) as made:
        client = Client(made, version).shake()
        client.write(b"hello")
        client.until(lambda: client.heard)
        if how == "FIN":
            client.socket.shutdown(socket.SHUT_WR)
            assert client.rest() == b"hello"
            assert client.ended
            over(made, Closing.DONE, 5)
        else:
            reset(client.socket)
            over(made, Closing.LOST, 5)


@fast_only
def test_a_bug_of_the_service_resets_its_connection_only(make, version, monkeypatch):
    def fragile(received):
        if received == b"a bug":
            raise ZeroDivisionError
        return received

    monkeypatch.setattr(Echo, "transform", staticmethod(fragile))
    with make(Echo()) as made:
        other, client = Client(made, version).shake(), Client(made, version).shake()
        client.write(b"a bug")
        client.until(lambda: client.end == b"RST")
        assert made.counters.closed == {Closing.FAILED: 1}
        late = Client(made, version).shake(send_last=False)
        late.write(b"a bug")
        late.until(lambda: late.end == b"RST")
        assert made.counters.closed == {Closing.FAILED: 2}
        other.write(b"and I?")
        other.until(lambda: other.heard == b"and I?")


@pytest.mark.parametrize("way", ["proxy and tls", pytest.param("proxy and tls and plane", marks=needs_the_plane)])
@pytest.mark.parametrize("together", [False, True])
def test_a_proxy_names_the_client_before_tls(make, version, together):
    header = version_2(Inet("127.9.9.9", 5000), Inet("198.51.100.2", 7))
    with make(Echo(), proxies=PROXIES) as made:
        client = Client(made, version, first=header)
        if not together:
            client.until(lambda: not client.output)
        client.shake()
        assert is_fast(made) is isinstance(made.port, StreamLane)
        client.write(b"hello")
        client.until(lambda: client.heard == b"hello")
        [told] = made.factory.describe_connections()
        assert told["peer"] == "127.9.9.9:5000"
        assert told["proxy"].startswith("127.0.0.1:")
        made.stop()
        [told] = made.factory.describe_connections()
        assert told["peer"] == "127.9.9.9:5000"
        client.finish()
        assert client.rest() == b"hello"
        client.socket.close()
        over(made, Closing.DONE, 5)


@fast_only
def test_a_failure_of_the_engine_is_not_left_to_the_next_connection(make, version, monkeypatch):
    with make(Echo()) as made:
        wrong, right = Client(made, version).shake(), Client(made, version).shake()
        with monkeypatch.context() as patched:
            patched.setattr(TlsEngine, "encode", lambda *_: 1 / 0)
            wrong.write(b"hello")
            wrong.until(lambda: wrong.end == b"RST")
        right.write(b"and I?")
        right.until(lambda: right.heard == b"and I?")
        assert made.counters.closed == {Closing.FAILED: 1}
