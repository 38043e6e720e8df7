"""The destination of a datagram that was queued before the socket requested it: the kernel reports only a part."""

import socket
from typing import Any
from unittest import mock

import pytest
from twisted.internet.task import Clock

from echod.gate.access import Access
from echod.gate.datagrams import DatagramGate
from echod.gate.limits import Limits
from echod.gate.refusal import Refusal
from echod.services.echo import Echo
from echod.transports import udp, udp_options
from echod.transports.datagram import ServiceDatagrams

OURS, BROADCAST = b"\xc0\0\2\1", b"\xc0\0\2\xff"


@pytest.mark.parametrize(
    ("ours", "destination", "answered"),
    [
        (OURS, OURS, True),
        (bytes(4), OURS, True),
        (OURS, BROADCAST, False),
        (bytes(4), BROADCAST, False),
        (bytes(4), b"\xff\xff\xff\xff", False),
        (bytes(4), b"\xe0\0\0\1", False),
    ],
)
def test_a_broadcast_or_multicast_request_is_not_answered(ours, destination, answered):
    gate = DatagramGate(Access([]), Limits(), Clock().seconds, own_ports=set(), broadcasts={BROADCAST})
    sent: list[Any] = []
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound,
        mock.patch.object(gate, "admit", return_value=None),
        mock.patch.object(udp.UDPPort, "reach", lambda _, *answer: sent.append(answer)),
    ):
        bound.bind(("127.0.0.1", 0))
        protocol = ServiceDatagrams(Echo(), gate=gate)
        reactor: Any = object()
        port = udp.UDPPort(reactor, bound, protocol, bound.close)
        info = (socket.IPPROTO_IP, udp_options.IP_PKTINFO, bytes(4) + ours + destination)
        port.serve(b"hello", [info], ("192.0.2.2", 40_000))
    if answered:
        source = [(socket.IPPROTO_IP, udp_options.IP_PKTINFO, bytes(4) + OURS + bytes(4))]
        assert sent == [(b"hello", source, ("192.0.2.2", 40_000))]
    else:
        assert (sent, protocol.counters.refused) == ([], {Refusal.DESTINATION: 1})
