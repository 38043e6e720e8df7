"""Datagrams behind a proxy: the gate decides about the client, and the reply goes to the proxy without a header."""

from ipaddress import ip_network

import pytest
from twisted.internet.task import Clock

from echod.gate.access import Access, packed_address
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import UNLIMITED, Limits, Rate
from echod.gate.refusal import Refusal
from echod.model import PLAIN, Peer
from echod.services.chargen import Chargen, ChargenOptions
from echod.services.echo import Echo
from echod.services.whoami import Whoami
from echod.socket_names import Inet
from echod.transports.layers.proxy_header import local, version_1, version_2
from echod.transports.proxied_datagrams import ProxiedDatagrams

PROXY, CLIENT, TARGET = Inet("192.0.2.1", 40_000), Inet("10.1.2.3", 5000), Inet("198.51.100.2", 7)
HEADER = version_2(CLIENT, TARGET, datagrams=True)


def made(service, *, loopback=False, rate=UNLIMITED, larger=()):
    gate = DatagramGate(
        Access([ip_network("10.0.0.0/8"), ip_network("127.0.0.0/8")]),
        Limits(rate=rate),
        Clock().seconds,
        own_ports={10_007},
        larger_answers_to=Access(map(ip_network, larger)),
    )
    return ProxiedDatagrams(service, gate=gate, loopback=loopback, proxies=Access([ip_network("192.0.2.0/30")]))


def send(datagrams, datagram, proxy=PROXY):
    """The replies to one datagram."""
    sent = []
    host = packed_address(proxy.host)
    if datagrams.admits(datagram, host, proxy.port):
        datagrams.serve(datagram, Peer("udp", Inet("192.0.2.9", 7), proxy), PLAIN, host, sent.append)
    return sent


def named(host, port=5000):
    return version_2(Inet(host, port), Inet("::1", 7) if ":" in host else TARGET, datagrams=True)


def test_the_payload_is_served_and_counted_and_the_reply_has_no_header():
    datagrams = made(Echo())
    assert send(datagrams, HEADER + b"hello") == [b"hello"]
    assert send(datagrams, HEADER) == [b""]
    assert datagrams.counters.figures() == {"datagrams_in": 2, "datagrams_out": 2, "bytes_in": 5, "bytes_out": 5}


@pytest.mark.parametrize(
    ("datagram", "proxy", "refusal"),
    [
        (HEADER, Inet("192.0.2.66", 40_000), Refusal.PROXY),
        (HEADER, Inet("::192.0.2.1", 40_000), Refusal.PROXY),
        (HEADER, Inet("192.0.2.1", 7), Refusal.SOURCE_PORT),
        (HEADER, Inet("192.0.2.1", 10_007), Refusal.SOURCE_PORT),
        (b"hello", PROXY, Refusal.HEADER),
        (b"", PROXY, Refusal.HEADER),
        (HEADER[:-1], PROXY, Refusal.HEADER),
        (HEADER[:-1] + b"?", PROXY, Refusal.HEADER),
        (version_1(CLIENT, TARGET), PROXY, Refusal.HEADER),
        (named("192.0.2.7"), PROXY, Refusal.DENIED),
        (named("10.0.0.1", 19), PROXY, Refusal.SOURCE_PORT),
        (named("10.0.0.1", 10_007), PROXY, Refusal.SOURCE_PORT),
        (named("224.0.0.1"), PROXY, Refusal.SOURCE_ADDRESS),
        (named("::10.0.0.1"), PROXY, Refusal.SOURCE_ADDRESS),
    ],
    ids=range(14),
)
def test_a_refused_datagram_gets_no_reply(datagram, proxy, refusal):
    datagrams = made(Echo())
    assert send(datagrams, datagram, proxy) == []
    assert datagrams.counters.refused == {refusal: 1}


@pytest.mark.parametrize("header", [local(), version_2(CLIENT, TARGET)], ids=["LOCAL", "a stream's"])
def test_the_rate_of_a_proxy_bounds_datagrams_that_name_no_client(header):
    datagrams = made(Echo(), rate=Rate(3, 3))
    sent = [send(datagrams, header + b"%d" % number) for number in range(5)]
    assert sent == [[b"0"], [b"1"], [b"2"], [], []]
    assert datagrams.counters.refused == {Refusal.RATE: 2}
    assert send(datagrams, HEADER + b"a client") == [b"a client"]


@pytest.mark.parametrize("header", [local(), version_2(CLIENT, TARGET)], ids=["LOCAL", "a stream's"])
def test_without_a_client_the_proxy_itself_is_served(header):
    assert b'"remote_address": "192.0.2.1"' in send(made(Whoami(), larger=["192.0.2.0/24"]), header)[0]


def test_whoami_names_both():
    [line] = send(made(Whoami(), larger=["192.0.2.0/24", "10.0.0.0/8"]), HEADER)
    assert b'"remote_address": "10.1.2.3", "remote_port": 5000, "proxy": {"version": 2, "address": "192.0.2.1"' in line


@pytest.mark.parametrize(
    ("larger", "header", "replies"),
    [
        ([], HEADER, 0),
        (["10.0.0.0/8"], HEADER, 0),
        (["192.0.2.0/24"], HEADER, 0),
        (["192.0.2.0/24", "10.0.0.0/8"], HEADER, 1),
        ([], local(), 0),
        (["10.0.0.0/8"], local(), 0),
    ],
)
def test_a_reply_is_larger_than_the_payload_only_if_both_ends_may_get_it(larger, header, replies):
    """The header is not part of the request: with it the reply would fit."""
    datagrams = made(Whoami(), larger=larger)
    padding = (4, bytes(400))
    if header == HEADER:
        header = version_2(CLIENT, TARGET, datagrams=True, tlvs=(padding,))
    assert len(send(datagrams, header + b"x")) == replies
    assert datagrams.counters.refused == ({} if replies else {Refusal.LARGER: 1})


def test_a_reply_as_large_as_the_payload_needs_no_permission():
    service = Chargen(ChargenOptions(rfc864=False))
    [reply] = send(made(service), HEADER + bytes(100))
    assert 0 < len(reply) <= 100


def test_rates_apply_to_the_network_of_the_client_also_behind_a_proxy_on_loopback():
    datagrams = made(Echo(), loopback=True, rate="auto")
    burst = Limits().datagrams(False).burst
    for number in range(round(burst) + 5):
        send(datagrams, HEADER + b"%d" % number)
        assert send(datagrams, named("127.0.0.1") + b"%d" % number) == [b"%d" % number]
    assert datagrams.counters.refused == {Refusal.RATE: 5}
