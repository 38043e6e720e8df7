"""The reflector on the fast path replies as on the plain path: the same packets, refusals and counters, in order."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from contextlib import ExitStack
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.fastpath import syscalls
from echod.fastpath.in_place_lane import AT_ONCE, InPlaceLane
from echod.fastpath.stamped_batch import StampedBatch
from echod.gate.limits import Rate
from echod.measurement.stamp import Answer, Request, Unauthenticated
from echod.measurement.stamp_tlvs import class_of_service, direct_measurement, tlv
from echod.measurement.timestamps import A_SECOND, from_ntp
from echod.model import Context
from echod.services.reflector import Reflector, ReflectorOptions
from tests.daemon import SECONDS
from tests.fastpath.datagram_ways import RATE, answers, both, check_turns, turns_of

pytestmark = pytest.mark.skipif(not syscalls.batches, reason="the fast path has no datagrams on this machine")

SENT = 1_900_000_000 * A_SECOND
URLS = ["udp://127.0.0.1:0", "udp://*:0", "udp://0.0.0.0:0"]
BASE = Unauthenticated().request(Request(7, 1 << 40, 0x8001, 3))
PACKETS = st.sampled_from(
    [
        BASE,
        BASE + bytes(20),
        BASE + direct_measurement(5),
        BASE + tlv(3, bytes(4)) + tlv(1, b"padding"),
        BASE + tlv(200, b"lies")[:-1],
        BASE + class_of_service(0),
        BASE[:14],
        b"",
    ]
)
TURNS = turns_of(PACKETS, often=20, turns=4)


def reflector(**options):
    return Reflector(ReflectorOptions(**options), Context(clock=lambda: 0.0, wall_clock_ns=lambda: SENT))


def without_arrival(packet: bytes) -> bytes:
    """A reply without T2, which the kernel writes."""
    return packet[:16] + packet[24:]


@settings(max_examples=50)
@given(TURNS, st.sampled_from(URLS), st.sampled_from([RATE, Rate(0, 0)]), st.booleans())
def test_the_same_replies_and_refusals_in_order(turns, url, rate, stateful):
    with both(reflector(stateful=stateful), url, rate) as (plain, plane, clients):
        assert isinstance(plane.lane, InPlaceLane)
        check_turns((plain, plane), clients, turns, without_arrival)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("udp://127.0.0.1:0", ["127.0.0.1"]),
        ("udp://0.0.0.0:0", ["127.0.0.1", "127.0.0.9"]),
        ("udp://*:0", ["127.0.0.9", "::1"]),
        ("udp://[::1]:0", ["::1"]),
        ("udp://[::]:0", ["::1"]),
    ],
)
def test_arrival_and_hops_are_the_kernels(url, hosts):
    with both(reflector(), url, Rate(0, 0)) as (_plain, plane, _):
        for served, host in enumerate(hosts):
            six = ":" in host
            with (
                socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as client,
                mock.patch.object(plane.port, "serve") as plainly,
            ):
                client.settimeout(10)
                level, option = (
                    (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if six else (socket.IPPROTO_IP, socket.IP_TTL)
                )
                client.setsockopt(level, option, 77)
                client.connect((host, plane.socket.getsockname()[1]))  # a reply from elsewhere would not be received
                before = time.time_ns()
                for _ in range(3):
                    client.send(BASE)
                plane.serve(3 * served + 3)
                assert not plainly.called
                for _ in range(3):
                    answer = Unauthenticated().parse_answer(client.recv(2000))
                    assert isinstance(answer, Answer)
                    assert answer.ttl == 77
                    assert before <= from_ntp(answer.received, before) <= time.time_ns()
                    assert from_ntp(answer.timestamp, SENT) == SENT


@pytest.mark.parametrize(
    ("url", "hosts"), [("udp://*:0", ["127.0.0.1", "127.0.0.9", "::1"]), ("udp://[::1]:0", ["::1"])]
)
def test_a_session_goes_on_when_the_plain_path_serves_the_socket(url, hosts):
    """Both paths have the same key for a flow. Two destinations at one socket are two sessions."""
    stamp = Unauthenticated()
    with both(reflector(stateful=True), url, Rate(0, 0)) as (_plain, plane, _), ExitStack() as stack:
        clients = []
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            clients.append(stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)))
            clients[-1].settimeout(10)
            clients[-1].connect((host, plane.socket.getsockname()[1]))
        served = 0
        for expected in ([0, 1], [2, 3]):
            for client in clients:
                for _ in expected:
                    client.send(BASE)
                served += 2
                plane.serve(served)
                answers = [stamp.parse_answer(client.recv(2000)) for _ in expected]
                assert [answer.sequence for answer in answers if answer] == expected
            if plane.lane is not None:
                plane.lane.release()
                plane.lane = None
                plane.port.startListening()


@pytest.mark.parametrize("count", [1, AT_ONCE + 3])
def test_replies_that_the_kernel_does_not_accept_are_counted(count):
    with both(reflector(), "udp://127.0.0.1:0", Rate(0, 0)) as (plain, plane, clients):
        for way, mine in ((plain, clients[0]), (plane, clients[1])):
            with contextlib.suppress(OSError):  # it is not connected, but is shut down anyway
                way.socket.shutdown(socket.SHUT_WR)
            for _ in range(count):
                mine[0].sendto(BASE, ("127.0.0.1", way.socket.getsockname()[1]))
            way.serve(count)
        assert plain.told == plane.told
        assert plane.told["refused:send"] == count


def test_waiting_requests_are_served_after_the_lane_has_left_the_socket():
    with both(reflector(), "udp://*:0", Rate(0, 0)) as (_plain, plane, (_, mine)):
        assert plane.lane is not None
        for _ in range(3):
            mine[0].sendto(BASE, ("127.0.0.1", plane.socket.getsockname()[1]))
        plane.lane.release()
        plane.lane = None
        plane.port.startListening()
        plane.serve(3)
        [came, *_] = answers(mine[:1], 3)
        assert [Unauthenticated().parse_answer(data).ttl for data, _ in came] == [64] * 3


def test_a_bug_of_the_service_loses_one_turn_only():
    with both(reflector(), "udp://127.0.0.1:0", Rate(0, 0)) as (_plain, plane, (_, mine)):
        place = ("127.0.0.1", plane.socket.getsockname()[1])
        mine[0].sendto(BASE, place)
        with mock.patch.object(StampedBatch, "placed", side_effect=ZeroDivisionError):
            assert select.select([plane.socket], [], [], SECONDS)[0]
            plane.turn()
        mine[0].sendto(BASE, place)
        assert select.select([plane.socket], [], [], SECONDS)[0]
        plane.turn()
        assert len(answers(mine[:1], 1)[0]) == 1
