"""The error queue of a UDP socket: closed ports are reported, and datagrams of other peers are not lost."""

from __future__ import annotations

import socket
from typing import Any, cast

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from echod.services.chat import Chat
from echod.transports import udp
from echod.transports.datagram_sessions import SessionDatagrams
from echod.transports.error_queue import ask_for_errors, refusing_peers
from tests.daemon import eventually

HOSTS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


def bound_to(family, host):
    """A bound UDP socket."""
    opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.bind((host, 0))
    opened.setblocking(False)
    return opened


def closed_port(family, host):
    """A socket address without a listener."""
    with bound_to(family, host) as opened:
        return opened.getsockname()


def refusals(bound):
    """Wait for errors in the queue, and return the addresses that it reports."""
    found: list[Any] = []

    def some():
        found.extend(refusing_peers(bound))
        return bool(found)

    assert eventually(some)
    return found


@pytest.mark.parametrize(("family", "host"), HOSTS)
def test_a_closed_port_is_reported_as_the_address_that_recvmsg_returns(family, host):
    gone = closed_port(family, host)
    with bound_to(family, host) as ours:
        ask_for_errors(ours, True)
        ours.sendto(b"hello", gone)
        assert refusals(ours) == [gone]
        assert list(refusing_peers(ours)) == []


def test_a_dual_stack_socket_names_a_peer_over_ipv4():
    gone = closed_port(*HOSTS[0])
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as ours:
        ours.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        ours.bind(("::", 0))
        ours.setblocking(False)
        ask_for_errors(ours, True)
        ours.sendto(b"hello", ("::ffff:127.0.0.1", gone[1]))
        assert refusals(ours) == [("::ffff:127.0.0.1", gone[1], 0, 0)]


def test_no_errors_are_queued_by_default():
    gone = closed_port(*HOSTS[0])
    with bound_to(*HOSTS[0]) as ours, bound_to(*HOSTS[0]) as other:
        ask_for_errors(ours, True)
        ask_for_errors(ours, False)
        ours.sendto(b"hello", gone)
        ours.sendto(b"hello", other.getsockname())  # an error that was pending would be reported here
        assert list(refusing_peers(ours)) == []


class Reactor:
    """Records which descriptors are watched."""

    def __init__(self) -> None:
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers = [one for one in self.readers if one is not reader]


class Noted(SessionDatagrams):
    """Records the peers that are reported as unreachable."""

    gone: list[Any]

    def unreachable(self, name: Any) -> None:
        self.gone.append(name)


@pytest.fixture
def port():
    """The port of a chat, without a running reactor."""
    bound, reactor = bound_to(*HOSTS[0]), cast(Any, Reactor())
    protocol = Noted(Chat())
    protocol.gone = []
    found = udp.UDPPort(reactor, bound, protocol, bound.close)
    ask_for_errors(bound, True)
    found.connected = 1
    yield found
    bound.close()


def refuse(port):
    """Leave an error pending on the port's socket, for a peer whose port is closed."""
    gone = closed_port(*HOSTS[0])
    port.socket.sendto(b"hello", gone)
    return gone


def test_an_error_about_one_peer_loses_no_datagram_to_another(port):
    refuse(port)
    with bound_to(*HOSTS[0]) as other:
        assert port.reach(b"still here", [], other.getsockname()) is None
        assert other.recv(100) == b"still here"


def test_an_error_alone_does_not_close_the_port(port):
    gone = refuse(port)
    port.connectionLost(Failure(ConnectionDone()))  # how the reactor reports an error without data to read
    assert port.connected
    assert port.reactor.readers == [port]
    assert gone in port.protocol.gone
    port.connectionLost(Failure(ConnectionLost()))  # the reactor ends
    assert not port.connected


def test_errors_do_not_make_the_port_pause(port):
    for number in range(100):
        gone = refuse(port)
        port.doRead()
        assert port.protocol.gone[number:] == [gone]
    assert port._resume is None
