"""Layers between a socket and its conversation change nothing: the tests of endings and budgets run over them.

Further tests: stacks that a layer's handshake begins, with its deadline, its end, and the client that it names.
"""

import socket
from ipaddress import ip_network

import pytest
from twisted.internet.error import ConnectionLost

from echod.events import Closing
from echod.fastpath.stream_lane import StreamLane
from echod.gate.access import Access
from echod.gate.refusal import Refusal
from echod.services.echo import Echo
from echod.services.single_reply import Once
from echod.services.upper import Upper
from echod.services.whoami import Whoami
from echod.socket_names import Inet
from echod.transports.layers.layer_interface import Layer
from tests.contract.matrix import MIB, data
from tests.fastpath import test_endings as endings
from tests.fastpath import test_total_buffer as budget
from tests.fastpath import test_writable_in_vain as in_vain
from tests.fastpath.listener import needs_the_plane
from tests.layers import HANDSHAKE

each_service = pytest.mark.parametrize("service", [Echo, Upper])
named = pytest.mark.parametrize("way", ["name"])
over_tcp = pytest.mark.parametrize("scheme", ["tcp"])
PROXIES = Access([ip_network("127.0.0.0/8")])


@pytest.fixture(params=["1 layer", "3 layers", "handshakes"])
def way(request):
    return request.param


def test_a_peer_that_does_not_close_after_our_fin_is_reset_in_time(make):
    endings.test_a_client_that_does_not_close_after_our_fin_is_reset_after_its_time(make)


def test_a_peer_that_closes_after_our_fin_is_done_at_once(make):
    endings.test_a_client_that_closes_after_our_fin_is_done_at_once(make)


def test_a_close_waits_for_pending_output(make):
    endings.test_a_close_waits_for_pending_output_but_not_longer_than_stall(make)


@each_service
def test_a_paused_connection_ends(make, service):
    endings.test_a_paused_connection_ends_as_any_other(make, service)


@each_service
def test_above_the_budget_a_stalled_peer_is_not_read_from(make, service):
    budget.test_above_the_bound_a_stalled_client_is_not_read_from_and_all_others_are_served(make, service)


def test_the_budget_recovers(make):
    budget.test_reading_continues_when_stalled_clients_have_gone(make)


@each_service
def test_a_writable_socket_that_accepts_nothing_is_retried(make, service):
    in_vain.test_a_write_is_retried_a_few_times_a_second_and_loses_nothing(make, service)


@pytest.mark.parametrize(("way", "bare"), [("plain", True), ("1 layer", False), ("handshakes", False)])
@needs_the_plane
def test_the_fast_path_is_offered_to_bare_sockets_only(make, bare):
    """It reads and writes sockets by itself: over layers it would serve what the layers must not let through."""
    with make(Echo()) as made:
        assert StreamLane.can_serve(made.port) is bare


@pytest.mark.parametrize("size", [0, 1, 65_536, 2 * MIB])
@each_service
def test_half_close_loses_nothing(make, service, size):
    with make(service(), stall=0.0, idle=0.0) as made:
        client = made.connect(narrow=False)
        source = data()[:size]
        came = made.exchange(client, source)
        client.shutdown(socket.SHUT_WR)
        assert came + made.rest(client) == service.transform(source)
        made.until(lambda: made.counters.open == 0)
        assert made.counters.figures() == {
            "accepted": 1,
            "closed:done": 1,
            **({"bytes_in": size, "bytes_out": size} if size else {}),
        }


@named
def test_data_after_a_handshake_in_the_same_segment_is_served(make):
    with make(Echo()) as made:
        for cut in range(1, 24):
            client = made.connect()
            said = b"NAME 127.0.0.9 99\nhello"
            for piece in (said[:cut], said[cut:]):
                client.send(piece)
                made.turn()
            assert made.hear(client, 5) == b"hello"
            client.shutdown(socket.SHUT_WR)
            assert made.rest(client) == b""


@named
def test_a_named_client_is_the_peer(make):
    with make(Whoami()) as made:
        client = made.connect()
        client.send(b"NAME 10.1.2.3 4567\n")
        assert b'"10.1.2.3"' in made.rest(client)


@named
@over_tcp
def test_a_handshake_has_a_deadline_that_no_byte_extends(make):
    with make(Echo()) as made:
        client = made.connect()
        for byte in b"NAME 12":
            client.send(bytes([byte]))
            made.pass_time(HANDSHAKE / 8)
        made.pass_time(HANDSHAKE / 8)
        made.until(lambda: made.counters.open == 0)
        assert made.counters.closed == {Closing.HANDSHAKE: 1}
        [(_, event)] = [one for one in made.events if one[0] == "handshake.failed"]
        assert event["error"] == "the handshake was not complete within 10 s"
        with pytest.raises(ConnectionResetError):
            made.rest(client)


@named
@over_tcp
def test_a_handshake_that_fails_is_counted_and_logged_with_its_error(make):
    with make(Echo()) as made:
        client = made.connect()
        client.send(b"SAME 127.0.0.9 99\nhello")
        made.turn()
        client.shutdown(socket.SHUT_WR)
        assert made.rest(client) == b""
        made.until(lambda: made.counters.open == 0)
        assert made.counters.closed == {Closing.HANDSHAKE: 1}
        [(_, event)] = [one for one in made.events if one[0] == "handshake.failed"]
        assert event["error"] == "the first word is not NAME"
        assert event["peer"].startswith("127.0.0.1:")


@named
def test_a_service_gets_the_facts_that_layers_learn(make):
    class Reporting(Echo):
        def session(self, peer, say):
            return Once(repr(dict(peer.learned)).encode())

    with make(Reporting()) as made:
        client = made.connect()
        client.send(b"NAME 10.1.2.3 4567\n")
        assert made.rest(client) == b"{'name': {'line': 'NAME 10.1.2.3 4567'}}"


@named
def test_a_reload_exchanges_the_layers_of_new_connections(make):
    with make(Echo()) as made:
        old = made.connect()
        made.factory.reconfigure(made.factory.service, made.factory.limits, (Layer,))
        new = made.connect()
        new.send(b"NAME")
        assert made.hear(new, 4) == b"NAME"
        old.send(b"NAME 127.0.0.1 1\nhello")
        assert made.hear(old, 5) == b"hello"


@named
def test_a_peer_that_ends_or_resets_within_its_handshake_frees_its_slot(make):
    with make(Echo()) as made:
        before = len(made.clock.getDelayedCalls())
        ending, resetting = made.connect(), made.connect()
        ending.shutdown(socket.SHUT_WR)
        assert made.rest(ending) == b""
        resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        resetting.close()
        made.until(lambda: made.counters.open == 0)
        assert made.counters.closed == {Closing.LOST: 2}
        assert len(made.clock.getDelayedCalls()) <= before + 1  # the listener may have set its own timer


@named
def test_a_stop_resets_connections_in_their_handshake(make):
    with make(Echo()) as made:
        made.connect()
        made.stop()
        drained = made.factory.drain(1)
        assert not drained.called
        made.factory.abandon()
        made.until(lambda: drained.called)
        assert made.counters.closed == {Closing.DRAIN: 1}


@named
@over_tcp
def test_the_gate_sees_the_client_that_a_proxy_names_and_not_the_proxy(make):
    """At accept only a connection slot is taken; lists and caps apply to the client. Each slot is freed once."""
    with make(Echo(), proxies=PROXIES, connections=3, per_client=1) as made:
        clients = [made.connect() for _ in range(3)]
        refused = made.connect()
        with pytest.raises(ConnectionResetError):
            made.rest(refused)
        for client, host in zip(clients, (b"127.0.0.9", b"127.0.0.9", b"10.0.0.1"), strict=True):
            client.send(b"NAME %s 99\nhello" % host)
            made.turn()
        assert made.hear(clients[0], 5) == b"hello"
        for client in clients[1:]:
            with pytest.raises(ConnectionResetError):
                made.rest(client)
        assert made.counters.refused == {Refusal.CONNECTIONS: 1, Refusal.PER_CLIENT: 1, Refusal.DENIED: 1}
        assert made.counters.closed == {Closing.REFUSED: 2}
        assert made.factory.gate.open == 1
        clients[0].close()
        made.until(lambda: made.counters.open == 0)
        again = made.connect()
        again.send(b"NAME 127.0.0.9 99\nhello")
        assert made.hear(again, 5) == b"hello"


@named
@over_tcp
def test_the_gate_decides_at_accept_for_a_peer_that_is_not_a_proxy(make):
    with make(Echo(), per_client=1) as made:
        made.connect()
        refused = made.connect()
        with pytest.raises(ConnectionResetError):
            made.rest(refused)
        assert made.counters.refused == {Refusal.PER_CLIENT: 1}


@pytest.mark.parametrize("way", ["plain", "1 layer", "name"])
def test_a_connection_that_is_reset_before_it_begins_frees_its_slot(make):
    """getsockname fails for it, so no level of its stack begins."""
    with make(Echo()) as made:
        receiver = made.factory.receiver_for(b"\x7f\0\0\1", Inet("127.0.0.1", 9))
        receiver.lost(ConnectionLost())
        assert made.counters.closed == {Closing.LOST: 1}
        assert made.factory.gate.open == 0
