"""PROXY headers in front of a listener: a trusted peer names its client, and every other peer is refused."""

import gc
import json
import socket
import struct
from ipaddress import ip_network

import pytest

from echod.events import Closing
from echod.gate.access import Access
from echod.gate.limits import Rate
from echod.gate.refusal import Refusal
from echod.services.daytime import Daytime
from echod.services.echo import Echo
from echod.services.upper import Upper
from echod.services.whoami import Whoami
from echod.socket_names import Inet
from echod.transports.handshake_slot import Entrance
from echod.transports.layers.proxy import Proxy
from echod.transports.layers.proxy_header import SIGNATURE, V2_MOST, local, version_1, version_2
from echod.transports.stream_socket import StreamSocket
from tests.contract.matrix import data
from tests.fastpath.listener import listener, needs_the_plane
from tests.layers import HANDSHAKE

PROXIES = Access([ip_network("127.0.0.0/8")])
NOBODY = Access([ip_network("192.0.2.0/24")])
CLIENT, TARGET = Inet("127.9.9.9", 5000), Inet("198.51.100.2", 7)
HEADERS = {"v1": version_1(CLIENT, TARGET), "v2": version_2(CLIENT, TARGET, tlvs=((1, b"h2"),)), "local": local()}
RESET = struct.pack("ii", 1, 0)


@pytest.fixture(params=["proxy", pytest.param("proxy and plane", marks=needs_the_plane)])
def way(request):
    return request.param


@pytest.fixture
def scheme():
    return "tcp"


@pytest.fixture
def serve(make):
    """A listener that trusts the test to be a proxy."""
    return lambda service, **settings: make(service, **{"proxies": PROXIES, **settings})


def named(host, port=5000):
    return version_1(Inet(host, port), TARGET)


def is_reset(made, client):
    with pytest.raises(ConnectionResetError):
        made.rest(client)
    return True


def events(made, name):
    return [fields for one, fields in made.events if one == name]


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_may_be_split_at_every_byte_and_no_byte_after_it_is_lost(serve, header):
    with serve(Echo()) as made:
        sent = header + b"hello"
        for cut in range(1, len(sent)):
            client = made.connect()
            for piece in (sent[:cut], sent[cut:]):
                client.send(piece)
                made.turn(3)
            client.shutdown(socket.SHUT_WR)
            assert made.rest(client) == b"hello"


def test_each_byte_of_a_header_may_arrive_alone(serve):
    with serve(Echo()) as made:
        client = made.connect()
        for byte in HEADERS["v2"]:
            client.send(bytes([byte]))
            made.turn(2)
        client.send(b"hello")
        assert made.hear(client, 5) == b"hello"


def test_many_bytes_after_a_header_come_back_in_order(serve):
    with serve(Echo()) as made:
        client = made.connect()
        came = made.exchange(client, HEADERS["v2"] + data()[:300_000])
        client.shutdown(socket.SHUT_WR)
        assert came + made.rest(client) == data()[:300_000]


def test_a_peer_outside_proxy_from_is_refused_before_it_sends_a_byte(serve):
    with serve(Whoami(), proxies=NOBODY) as made:
        client = made.connect()
        assert is_reset(made, client)
        assert made.counters.refused == {Refusal.PROXY: 1}
        assert events(made, "proxy.denied")[0]["host"] == "127.0.0.1"
        assert made.counters.accepted == 0


def test_a_service_that_speaks_first_waits_for_the_header(serve):
    with serve(Daytime()) as made:
        client = made.connect()
        made.turn()
        with pytest.raises(BlockingIOError):
            client.recv(1)
        client.send(HEADERS["v1"])
        assert made.rest(client).endswith(b"\r\n")


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header of version 1 or 2, but 'GET / HTTP/1"),
        (b"\x1b[2J\x07", r"but '\x1b[2J\x07'"),
        (b"PROXY TCP4 999.2.3.4 1.2.3.4 1 2\r\n", "999.2.3.4 is not an IP address"),
        (HEADERS["v2"][:-1] + b"?", "the checksum is"),
        (SIGNATURE + b"\x21\x11\xff\xff", f"at most {V2_MOST} are accepted"),
        (b"PROXY " + b"x" * 101, "no CRLF within 107 bytes"),
    ],
)
def test_a_missing_or_wrong_header_resets_the_connection_and_is_logged_with_its_reason(serve, sent, reason):
    with serve(Echo()) as made:
        client = made.connect()
        client.send(sent)
        assert is_reset(made, client)
        assert made.counters.closed == {Closing.HANDSHAKE: 1}
        [told] = events(made, "handshake.failed")
        assert reason in told["error"]
        assert told["error"].isprintable()


def test_a_second_header_is_data_of_the_client(serve):
    with serve(Echo()) as made:
        client = made.connect()
        client.send(HEADERS["v1"] + HEADERS["v1"])
        assert made.hear(client, len(HEADERS["v1"])) == HEADERS["v1"]


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_without_a_byte_is_a_health_check_and_no_error(serve, reset):
    with serve(Echo()) as made:
        client = made.connect()
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        made.until(lambda: made.counters.open == 0)
        assert made.counters.closed == {Closing.DONE: 1}
        assert not events(made, "handshake.failed")


def test_a_connection_that_ends_within_its_header_is_an_error(serve):
    with serve(Echo()) as made:
        client = made.connect()
        client.send(b"PROXY TCP4")
        client.shutdown(socket.SHUT_WR)
        assert is_reset(made, client)
        assert made.counters.closed == {Closing.HANDSHAKE: 1}
        assert events(made, "handshake.failed")[0]["error"] == "the connection ended after 10 bytes of a PROXY header"


def test_a_header_has_a_deadline_that_no_byte_extends(serve):
    with serve(Echo()) as made:
        client = made.connect()
        for byte in HEADERS["v1"][:8]:
            client.send(bytes([byte]))
            made.pass_time(HANDSHAKE / 8)
        made.pass_time(HANDSHAKE / 8)
        assert is_reset(made, client)
        assert made.counters.closed == {Closing.HANDSHAKE: 1}


def test_lists_caps_and_rates_apply_to_the_client_and_not_to_the_proxy(serve):
    with serve(Echo(), connections=4, per_client=1, new_per_client=Rate(0.001, 1)) as made:
        made.factory.gate.reconfigure(Access([ip_network("10.0.0.0/8")], [ip_network("10.6.6.6")]), made.factory.limits)
        admitted = made.connect()
        admitted.send(named("10.0.0.1") + b"hello")
        assert made.hear(admitted, 5) == b"hello"
        for host in ("10.0.0.1", "10.6.6.6", "127.0.0.1"):  # at its cap, denied, not allowed
            client = made.connect()
            client.send(named(host) + b"hello")
            assert is_reset(made, client)
        admitted.close()
        made.until(lambda: made.counters.open == 0)
        too_fast = made.connect()
        too_fast.send(named("10.0.0.1") + b"hello")
        assert is_reset(made, too_fast)
        assert made.counters.refused == {Refusal.PER_CLIENT: 1, Refusal.DENIED: 2, Refusal.NEW_PER_CLIENT: 1}


def test_a_proxy_takes_only_connections_of_the_service(serve):
    with serve(Echo(), connections=2, per_client=1) as made:
        made.connect(), made.connect()
        assert is_reset(made, made.connect())
        assert made.counters.refused == {Refusal.CONNECTIONS: 1}


@pytest.mark.parametrize("header", [local(), b"PROXY UNKNOWN\r\n"], ids=["LOCAL", "UNKNOWN"])
def test_local_and_unknown_keep_the_peer_of_the_socket_which_needs_no_permission(serve, header):
    with serve(Whoami()) as made:
        made.factory.gate.reconfigure(Access([ip_network("10.0.0.0/8")]), made.factory.limits)
        client = made.connect()
        name = client.getsockname()
        client.send(header)
        facts = json.loads(made.rest(client))
        assert (facts["remote_address"], facts["remote_port"]) == name
        assert facts["proxy"]["address"] == "127.0.0.1"


def test_whoami_and_events_name_the_client_and_the_proxy(serve):
    with serve(Whoami()) as made:
        made.factory.events.subscribe(lambda name, fields: made.events.append((name, dict(fields))), connections=True)
        client = made.connect()
        proxy = Inet(*client.getsockname())
        client.send(HEADERS["v2"])
        assert json.loads(made.rest(client)) == {
            "protocol": "tcp",
            "local_address": "127.0.0.1",
            "local_port": made.place[1],
            "remote_address": CLIENT.host,
            "remote_port": CLIENT.port,
            "proxy": {
                "version": 2,
                "address": proxy.host,
                "port": proxy.port,
                "destination_address": TARGET.host,
                "destination_port": TARGET.port,
                "alpn": "h2",
            },
        }
        client.close()
        made.until(lambda: made.counters.open == 0)
        for name in ("connection.opened", "connection.closed"):
            told = events(made, name)[-1]
            assert (told["peer"], told["proxy"]) == (str(CLIENT), str(proxy))


def test_the_connections_that_an_administrator_sees_name_both(serve):
    with serve(Echo()) as made:
        client = made.connect()
        client.send(HEADERS["v1"] + b"hello")
        assert made.hear(client, 5) == b"hello"
        [told] = made.factory.describe_connections()
        assert (told["peer"], told["proxy"]) == (str(CLIENT), str(Inet(*client.getsockname())))
        assert (told["bytes_in"], told["bytes_out"]) == (5, 5)


@needs_the_plane
@pytest.mark.parametrize("way", ["proxy and plane"])
def test_the_fast_path_carries_the_connection_after_the_header(make):
    """And when the listener stops, the connection returns with its client, its counts and its pending bytes."""
    with make(Echo(), proxies=PROXIES) as made:
        made.factory.events.subscribe(lambda name, fields: made.events.append((name, dict(fields))), connections=True)
        client = made.connect()
        proxy = Inet(*client.getsockname())
        client.send(HEADERS["v2"] + b"hello")
        assert made.hear(client, 5) == b"hello"
        assert not made.factory.conversations
        assert len(made.port._hosts) == 1
        sent = made.stick(client)
        made.stop()
        [conversation] = made.factory.conversations
        assert conversation.peer.remote == CLIENT
        assert conversation.peer.learned["proxy"]["alpn"] == "h2"
        client.shutdown(socket.SHUT_WR)
        assert made.rest(client) == data()[:sent]
        made.until(lambda: made.counters.open == 0)
        closed = events(made, "connection.closed")[-1]
        assert (closed["peer"], closed["proxy"]) == (str(CLIENT), str(proxy))
        assert (closed["bytes_in"], closed["bytes_out"]) == (sent + 5, sent + 5)


@pytest.mark.parametrize("service", [Echo, Upper])
def test_more_bytes_with_the_header_than_the_peer_reads(serve, service):
    """The first reply blocks: it is sent when the peer reads, before all later bytes."""
    with serve(service()) as made:
        client = made.connect()
        whole, at, came = HEADERS["v1"] + data()[:200_000], 0, bytearray()
        while at < 60_000:  # one segment may hold the header and many bytes
            at += client.send(whole[at : at + 65_000])
        made.turn()
        while at < len(whole):
            try:
                at += client.send(whole[at : at + 10_000])
            except BlockingIOError:
                pass
            made.turn(1)
            try:
                came += client.recv(3_000)
            except BlockingIOError:
                pass
        client.shutdown(socket.SHUT_WR)
        assert bytes(came) + made.rest(client) == service.transform(data()[:200_000])
        made.until(lambda: made.counters.open == 0)
        figures = made.counters.figures()
        assert (figures["bytes_in"], figures["bytes_out"], figures["closed:done"]) == (200_000, 200_000, 1)


@pytest.mark.parametrize("service", [Echo, Upper])
def test_a_connection_that_ends_with_its_header_is_answered(serve, service):
    with serve(service()) as made:
        client = made.connect()
        client.send(HEADERS["v1"] + b"hello")
        client.shutdown(socket.SHUT_WR)
        assert made.rest(client) == service.transform(b"hello")


def test_a_client_that_is_not_allowed_gets_no_further_handshake(tmp_path_factory):
    """Its TLS or WebSocket handshake would cost more than the refusal."""
    with listener("proxy and handshake", "tcp", tmp_path_factory.mktemp("s"), Echo(), PROXIES) as made:
        refused = made.connect()
        refused.send(named("192.0.2.1"))
        assert is_reset(made, refused)
        admitted = made.connect()
        admitted.send(named("127.9.9.9"))
        made.turn()
        with pytest.raises(BlockingIOError):
            admitted.recv(1)  # the handshake of the next layer is awaited
        admitted.send(b"NAME 127.0.0.7 7\nhello")
        assert made.hear(admitted, 5) == b"hello"


@needs_the_plane
@pytest.mark.parametrize("way", ["proxy and plane"])
@pytest.mark.parametrize("rest", [b"", b"hello"])
def test_a_connection_that_was_handed_over_leaves_no_object(make, rest):
    """Not even one that waits for the garbage collector."""

    def levels() -> list[object]:
        return [one for one in gc.get_objects() if type(one) in (Entrance, Proxy, StreamSocket)]

    with make(Echo(), proxies=PROXIES) as made:
        gc.collect()
        earlier = levels()  # of other tests in this process
        client = made.connect()
        gc.disable()
        try:
            client.send(HEADERS["v1"] + rest)
            made.until(lambda: len(made.port._hosts) == 1)
            made.turn(2)
            assert not [one for one in levels() if one not in earlier]
        finally:
            gc.enable()
        client.send(b"!")
        assert made.hear(client, len(rest) + 1) == rest + b"!"
