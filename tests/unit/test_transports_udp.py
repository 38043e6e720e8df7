"""The destination of a datagram that was queued before the socket requested it: the kernel reports only a part."""

import errno
import os
import socket
from ipaddress import ip_network
from typing import Any
from unittest import mock

import pytest
from twisted.internet.task import Clock

from echod.gate.access import Access
from echod.gate.datagrams import DatagramGate
from echod.gate.flood_detector import Flood
from echod.gate.limits import Limits
from echod.gate.refusal import Refusal
from echod.model import Service
from echod.services.echo import Echo
from echod.transports import socket_filter, udp, udp_options
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


@pytest.mark.parametrize(("host", "ttl"), [("239.1.2.3", 1), ("127.0.0.1", 64), ("ff15::7", 1)])
def test_a_passed_socket_of_a_group_replies_on_its_link_only(host, ttl):
    six = ":" in host
    level, option = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if six else (socket.IPPROTO_IP, socket.IP_TTL)
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as passed:
        passed.bind((host, 0))
        passed.setsockopt(level, option, 64)
        udp.TRANSPORT.prepare(passed)
        assert passed.getsockopt(level, option) == ttl


@pytest.mark.parametrize(("group", "answered"), [(b"\xef\x01\x02\x03", True), (b"\xef\x01\x02\x04", False)])
def test_a_socket_of_a_group_replies_to_its_group_only(group, answered):
    gate = DatagramGate(Access([]), Limits(), Clock().seconds, larger_answers_to=Access([ip_network("0.0.0.0/0")]))
    sent: list[Any] = []
    protocols: list[ServiceDatagrams] = []
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound,
        mock.patch.object(gate, "admit", return_value=None),
        mock.patch.object(udp.UDPPort, "reach", lambda _, *answer: sent.append(answer)),
    ):
        bound.bind(("239.1.2.3", 0))
        reactor: Any = object()
        for service in (Echo(), Longer()):
            protocols.append(protocol := ServiceDatagrams(service, gate=gate))
            port = udp.UDPPort(reactor, bound, protocol, bound.close)
            info = (socket.IPPROTO_IP, udp_options.IP_PKTINFO, bytes([7, 0, 0, 0]) + OURS + group)
            port.serve(b"hello", [info], ("192.0.2.2", 40_000))
    source = [(socket.IPPROTO_IP, udp_options.IP_PKTINFO, bytes([7, 0, 0, 0]) + OURS + bytes(4))]
    assert sent == ([(b"hello", source, ("192.0.2.2", 40_000))] if answered else [])
    reason = Refusal.LARGER if answered else Refusal.DESTINATION
    assert protocols[1].counters.refused == {reason: 1}


def test_a_refused_filter_is_reported_once():
    clock: Any = Clock()
    told: list[str] = []
    gate = DatagramGate(Access([]), Limits(), clock.seconds)
    protocol = ServiceDatagrams(Echo(), gate=gate)
    protocol.filter_refused = told.append
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound,
        mock.patch.object(socket_filter, "attach", side_effect=OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))),
    ):
        bound.bind(("127.0.0.1", 0))
        port = udp.UDPPort(clock, bound, protocol, bound.close)
        for _ in range(2):
            gate.floods.found[b"\x7f\0\0"] = Flood(1e9, 1.0)
            assert not port.filter.look()
    assert told == ["cannot allocate memory (ENOMEM)"]


class Longer(Service):
    """Its replies are larger than the requests."""

    kind = "longer"

    def answer(self, datagram: bytes, peer: Any) -> bytes:
        return datagram + b"!"
