"""The kernel's facts about datagrams, from real sockets."""

import socket
import time

import pytest

from echod.model import Arrival
from echod.transports.packet_stamps import arrival_of, request_facts, sent_times


def pair(family, host):
    server, client = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    server.bind((host, 0))
    client.connect(server.getsockname())
    server.settimeout(30)
    return server, client


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["4", "6"])
def test_send_and_receive_times_are_in_order(family, host):
    try:
        server, client = pair(family, host)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server, client:
        for each in (server, client):
            request_facts(each)
        found = []
        before = time.time_ns()
        for number in range(3):
            client.send(b"%d" % number)
            while len(found) <= number:  # a driver may send it a moment later
                found += sent_times(client)
        data, ancillary, _, _ = server.recvmsg(100, 256)
        arrival = arrival_of(ancillary)
        assert (data, arrival.ttl, arrival.traffic_class, arrival.text) == (b"0", 64, 0, None)
        assert [number for number, _ in found] == [0, 1, 2]
        times = [before, found[0][1], arrival.received_ns, time.time_ns()]
        assert times == sorted(times)


def test_without_control_messages_nothing_is_known():
    assert arrival_of([]) == Arrival()


def test_a_socket_without_an_error_queue_has_no_send_times():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        request_facts(one)
        one.send(b"x")
        assert list(sent_times(one)) == []
