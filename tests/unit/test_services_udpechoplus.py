"""UDPEchoPlus (TR-143): the fields of the server, and its counters."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from echod.model import Arrival, Context, Peer
from echod.services.udpechoplus import UDPEchoPlus, UDPEchoPlusOptions
from echod.socket_names import Inet

NOW = 1_800_000_000_123_456_789
PEER = Peer("udp", Inet("127.0.0.1", 7), Inet("192.0.2.7", 40_000))
OTHER = Peer("udp", Inet("127.0.0.1", 7), Inet("192.0.2.8", 40_000))
REQUEST = struct.pack("!IIIIII", 5, 1, 2, 3, 4, 6) + b"and more"


def service(**options):
    return UDPEchoPlus(UDPEchoPlusOptions(**options), Context(wall_clock_ns=lambda: NOW + 42_000))


def fields(data):
    return struct.unpack_from("!IIIIII", data)


def ask(echo, data=REQUEST, peer=PEER, outcome=None):
    replies = []

    def reply(data):
        replies.append(data)
        return outcome

    echo.datagram(data, peer, Arrival(received_ns=NOW), reply)
    [answer] = replies
    return answer


def test_the_server_fills_in_its_number_its_times_and_its_failures():
    answer = ask(service())
    received = NOW // 1000 % 2**32
    assert fields(answer) == (5, 1, received, (received + 42) % 2**32, 0, 6)
    assert answer[24:] == b"and more"


def test_replies_are_numbered_and_those_that_failed_are_counted():
    echo = service()
    sent = [ask(echo, outcome=outcome) for outcome in (True, False, False, None, True)]
    assert [(fields(data)[1], fields(data)[4]) for data in sent] == [(1, 0), (2, 0), (2, 1), (2, 2), (3, 2)]


def test_counters_are_those_of_the_service_or_of_each_client():
    order = (PEER, OTHER, PEER)
    for counters, numbers in (("service", [1, 2, 3]), ("client", [1, 1, 2])):
        echo = service(counters=counters)
        assert [fields(ask(echo, peer=peer))[1] for peer in order] == numbers


def test_the_counters_of_clients_are_bounded():
    echo = service(counters="client")
    for port in range(10_001):
        ask(echo, peer=PEER._replace(remote=Inet("192.0.2.7", port)))
    assert len(echo._counters) == 10_000
    assert fields(ask(echo, peer=PEER._replace(remote=Inet("192.0.2.7", 0))))[1] == 1
    assert fields(ask(echo, peer=PEER._replace(remote=Inet("192.0.2.7", 10_000))))[1] == 2


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_a_reply_differs_only_in_the_servers_fields(data):
    echo = service()
    answer = ask(echo, data)
    assert len(answer) == len(data)
    assert answer[:4] + answer[20:] == data[:4] + data[20:]
    if len(data) < 24:
        assert answer == data
        assert not echo._counters  # a plain echo is not counted
    assert service().answer(data, PEER)[20:] == data[20:]
