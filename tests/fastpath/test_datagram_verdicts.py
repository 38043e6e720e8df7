"""The fast path decides each datagram as the plain path does: the same replies, the same refusals, in order."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from contextlib import ExitStack
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.fastpath import native_library, syscalls
from echod.fastpath.batch import MOST_AT_ONCE, Batch
from echod.fastpath.datagram_lane import DatagramLane
from echod.fastpath.loop import Loop
from echod.fastpath.native_library import What
from echod.fastpath.native_loop import NativeLoop
from echod.gate.limits import Rate
from echod.services.echo import Echo
from echod.services.upper import Upper
from echod.transports.datagram import A_TURN, REST
from tests.fastpath.datagram_ways import RATE, answers, both, check_turns, turns_of
from tests.fastpath.listener import needs_the_native_loop

pytestmark = pytest.mark.skipif(not syscalls.batches, reason="the fast path has no datagrams on this machine")

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104

LOOPS = [Loop, NativeLoop] if native_library.library is not None else [Loop]
both_loops = pytest.mark.parametrize("kind", LOOPS, ids=lambda kind: kind.__name__)

PAYLOADS = st.sampled_from([b"", b"a", b"same", b"x" * 64, b"y" * 64, b"Z" * 1400])
# The datagrams of a turn fit a default receive buffer of Linux, 208 KiB: 72 of 1400 bytes use 162 KiB.
TURNS = turns_of(PAYLOADS, often=12, turns=8)


@settings(max_examples=100)
@given(
    st.sampled_from(LOOPS),
    st.sampled_from([Echo(), Upper()]),
    TURNS,
    st.sampled_from(["udp://127.0.0.1:0", "udp://*:0"]),
    st.sampled_from([RATE, Rate(0, 0)]),
)
def test_the_same_answers_and_refusals_in_order(kind, service, turns, url, rate):
    with both(service, url, rate, kind) as (plain, plane, clients):
        check_turns((plain, plane), clients, turns)


@settings(max_examples=50)
@given(
    st.sampled_from(LOOPS),
    st.integers(1, 40),
    st.integers(1, 1400),
    st.integers(0, 1399),
    st.sampled_from(["udp://127.0.0.1:0", "udp://*:0"]),
)
def test_datagrams_sent_as_segments_are_returned_as_segments(kind, count, size, tail, url):
    """A sender that lets the kernel split (UDP_SEGMENT) is joined again by GRO if the link does it; loopback may."""
    parts = [bytes([at]) * size for at in range(count)] + ([b"t" * (tail % size)] if tail % size else [])
    with both(Echo(), url, Rate(0, 0), kind) as (plain, plane, clients):
        for way, mine in ((plain, clients[0]), (plane, clients[1])):
            place = ("127.0.0.1", way.socket.getsockname()[1])
            mine[0].setsockopt(SOL_UDP, UDP_SEGMENT, size)
            mine[0].sendto(b"".join(parts), place)
            way.serve(len(parts))
            assert answers(mine[:1], len(parts)) == [[(part, "127.0.0.1") for part in parts]]
        assert plain.told == plane.told


@both_loops
@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://*:0"])
@pytest.mark.parametrize("ends", ["stops", "leaves the socket to a plain port"])
def test_datagrams_that_the_kernel_joined_are_split_for_the_plain_path(kind, url, ends):
    with both(Echo(), url, Rate(0, 0), kind) as (_plain, plane, (_, mine)):
        lane = plane.lane
        assert lane is not None
        mine[0].setsockopt(SOL_UDP, UDP_SEGMENT, 10)
        mine[0].sendto(b"x" * 10 * 9 + b"y" * 5, ("127.0.0.1", plane.socket.getsockname()[1]))
        assert select.select([plane.socket], [], [], 10)[0]
        if ends == "stops":
            with mock.patch.object(lane, "_serve"):  # it arrives a moment after the fast path has read
                lane.stopListening()
        else:
            lane.release()
            plane.lane = None
            plane.port.startListening()
            plane.serve(10)
        assert answers(mine[:1], 10) == [[(b"x" * 10, "127.0.0.1")] * 9 + [(b"y" * 5, "127.0.0.1")]]
        assert plane.protocol.counters.datagrams_out == 10


@both_loops
@pytest.mark.parametrize("count", [1, 3])
def test_datagrams_that_the_kernel_does_not_accept_are_counted(kind, count):
    with both(Echo(), "udp://127.0.0.1:0", Rate(0, 0), kind) as (plain, plane, clients):
        sent = 0
        for shut in (False, True, True):
            sent += count
            for way, mine in ((plain, clients[0]), (plane, clients[1])):
                if shut:
                    with contextlib.suppress(OSError):  # it is not connected, but is shut down anyway
                        way.socket.shutdown(socket.SHUT_WR)
                for _ in range(count):
                    mine[0].sendto(b"x" * 64, ("127.0.0.1", way.socket.getsockname()[1]))
                way.serve(sent)
        assert plain.told == plane.told
        assert plane.told["refused:send"] == 2 * count
        for mine in clients:
            assert answers(mine[:1], count) == [[(b"x" * 64, "127.0.0.1")] * count]


@both_loops
def test_the_order_within_a_flow_is_kept(kind):
    """While some datagrams pass as a run, and others, above half their rate, are examined one by one."""
    with both(Echo(), "udp://*:0", Rate(1000, 200), kind) as (_plain, plane, (_, mine)):
        place = ("127.0.0.5", plane.socket.getsockname()[1])
        sent = [b"%d" % at * (at % 7 + 1) for at in range(190)]
        for at in range(0, len(sent), 19):
            for payload in sent[at : at + 19]:
                mine[0].sendto(payload, place)
            plane.serve(at + len(sent[at : at + 19]))
        assert answers(mine[:1], len(sent)) == [[(payload, "127.0.0.5") for payload in sent]]


@pytest.mark.parametrize(
    ("error", "joins"), [(errno.EAGAIN, 2), (errno.ENOBUFS, 2), (errno.EMSGSIZE, 1), (errno.EINVAL, 1)]
)
def test_joining_continues_after_a_full_buffer(error, joins):
    """A temporary condition is not remembered; a missing feature of the link or the kernel is not tried again."""
    tried = []

    def fails(_batch: object, *_: object) -> bool:
        tried.append(error)
        syscalls.ffi.errno = error
        return False

    with both(Echo(), "udp://127.0.0.1:0", Rate(0, 0)) as (_plain, plane, (_, mine)):
        place = ("127.0.0.1", plane.socket.getsockname()[1])
        for turn in range(1, 3):
            for _ in range(4):
                mine[0].sendto(b"x" * 64, place)
            with mock.patch.object(Batch, "send_joined", fails):
                plane.serve(4 * turn)
            assert answers(mine[:1], 4) == [[(b"x" * 64, "127.0.0.1")] * 4]
    assert len(tried) == joins


@pytest.mark.parametrize("plane", [False, True])
def test_a_socket_that_only_fails_is_paused_and_read_again(plane):
    """One error is ignored; a socket that only reports errors would use the whole processor."""
    tried = [0]
    received = syscalls.C.recvmmsg

    def fails(*_: object) -> int:
        tried[0] += 1
        syscalls.ffi.errno = errno.ENOBUFS
        if plane:
            return -1
        raise OSError(errno.ENOBUFS, "")

    failing = False
    library = mock.Mock(wraps=syscalls.C)
    library.recvmmsg.side_effect = lambda *them: fails() if failing else received(*them)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(syscalls, "C", library))
        plain_way, plane_way, clients = stack.enter_context(both(Echo(), "udp://127.0.0.1:0", Rate(0, 0)))
        way, mine = (plane_way, clients[1]) if plane else (plain_way, clients[0])
        mine[0].sendto(b"waits", ("127.0.0.1", way.socket.getsockname()[1]))
        failing = True
        with mock.patch.object(way.port, "socket", mock.Mock(wraps=way.socket, recvmsg=fails, recvfrom=fails)):
            while not way.clock.getDelayedCalls():
                assert tried[0] < 1000
                way.turn()
            assert tried[0] == A_TURN
            way.clock.advance(REST)
            way.turn()
            assert tried[0] == A_TURN + 1
            assert way.clock.getDelayedCalls()
            way.clock.advance(REST)
        failing = False
        way.serve(1)
        assert answers(mine[:1], 1) == [[(b"waits", "127.0.0.1")]]
        assert not way.clock.getDelayedCalls()


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://*:0"])
@pytest.mark.parametrize(("error", "joins"), [(0, 2), (errno.EAGAIN, 2), (errno.EMSGSIZE, 1)])
def test_few_sources_that_come_mixed_get_one_send_each(url, error, joins):
    """If one of them fails, its datagrams are sent singly; if it can never succeed, it is not tried again."""
    calls = []  # headers of each sendmmsg
    library = mock.Mock(wraps=syscalls.C)
    send = syscalls.C.sendmmsg

    def sendmmsg(descriptor: int, headers: Any, count: int, flags: int) -> int:
        calls.append(count)
        if error and count == 2 and headers[0].header.part_count > 1:  # the first of both
            syscalls.ffi.errno = error
            return -1
        return int(send(descriptor, headers, count, flags))

    library.sendmmsg.side_effect = sendmmsg
    with mock.patch.object(syscalls, "C", library), both(Upper(), url, Rate(0, 0)) as (_plain, plane, (_, mine)):
        senders = [mine[0], mine[2]]
        place = ("127.0.0.1", plane.socket.getsockname()[1])
        for client in senders:  # the gate's decision about a source is cached from its first datagram on
            client.sendto(b"", place)
        plane.serve(2)
        answers(senders, 2)
        calls.clear()
        for turn in range(1, 3):
            for at in range(6):
                for client in senders:
                    client.sendto(b"%d from %d" % (at, senders.index(client)), place)
            plane.serve(2 + 12 * turn)
            expected = [[(b"%d FROM %d" % (at, number), "127.0.0.1") for at in range(6)] for number in range(2)]
            assert answers(senders, 12) == expected
    assert plane.protocol.counters.datagrams_out == 26
    if error:
        assert calls == [2, 1, *[1] * 6] * joins + [12] * (2 - joins)
    else:
        assert calls == [2, 2]


@both_loops
@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://*:0"])
def test_each_of_few_sources_gets_one_send_of_its_replies_in_order(kind, url):
    """A client with UDP_GRO receives replies that were sent at once as one."""
    with both(Echo(), url, Rate(0, 0), kind) as (_plain, plane, (_, mine)):
        senders = [mine[0], mine[2]]
        place = ("127.0.0.1", plane.socket.getsockname()[1])
        for client in senders:
            client.sendto(b"", place)
        plane.serve(2)
        answers(senders, 2)
        for client in senders:
            client.setsockopt(SOL_UDP, UDP_GRO, 1)
        for at in range(6):
            for client in senders:
                client.sendto(b"%d from %d" % (at, senders.index(client)), place)
        plane.serve(14)
        expected = [b"".join(b"%d from %d" % (at, number) for at in range(6)) for number in range(2)]
        assert answers(senders, 2) == [[(joined, "127.0.0.1")] for joined in expected]
        assert plane.told["datagrams_out"] == 14


@needs_the_native_loop
def test_the_native_loop_joins_no_more_bytes_than_one_datagram_has():
    with both(Echo(), "udp://127.0.0.1:0", Rate(0, 0), NativeLoop) as (_plain, plane, (_, mine)):
        place = ("127.0.0.1", plane.socket.getsockname()[1])
        for _ in range(2):
            mine[0].sendto(b"", place)
        plane.serve(2)
        answers(mine[:1], 2)
        mine[0].setsockopt(SOL_UDP, UDP_GRO, 1)
        sent = [bytes([at]) * 1400 for at in range(60)]
        for payload in sent:
            mine[0].sendto(payload, place)
        plane.serve(62)
        most = MOST_AT_ONCE // 1400
        expected = [(b"".join(part), "127.0.0.1") for part in (sent[:most], sent[most:])]
        assert answers(mine[:1], 2) == [expected]
        assert plane.told["bytes_out"] == 60 * 1400


@needs_the_native_loop
def test_the_native_loop_answers_known_sources_until_a_rule_changes():
    """Python checks the address and the source of a datagram, and remembers both until `forget`. The counters are exact
    meanwhile.
    """
    with both(Upper(), "udp://*:0", Rate(0, 0), NativeLoop) as (_plain, plane, (_, mine)):
        lane, place, sent = plane.lane, ("127.0.0.1", plane.socket.getsockname()[1]), 0
        clients = [mine[0], mine[2]]
        assert isinstance(lane, DatagramLane)
        for turn, in_python in enumerate([True, True, False, False, True, True, False]):
            if turn == 4:
                lane.forget()
            with mock.patch.object(lane, "_answer_turn", wraps=lane._answer_turn) as answer:
                for client in clients:
                    client.sendto(b"number %d" % turn, place)
                    sent += 1
                    plane.serve(sent)
            assert bool(answer.called) is in_python
            assert answers(clients, 2) == [[(b"NUMBER %d" % turn, "127.0.0.1")]] * 2
            assert plane.told["datagrams_out"] == sent
            assert plane.told["bytes_out"] == plane.told["bytes_in"] == sent * len(b"number 0")


@needs_the_native_loop
def test_the_native_loop_replies_from_the_address_that_was_asked():
    """A source is known with the address that it has asked; another address of this machine is decided again."""
    with both(Echo(), "udp://*:0", Rate(0, 0), NativeLoop) as (_plain, plane, (_, mine)):
        for turn in range(2):
            for host in ("127.0.0.1", "127.0.0.9", "127.0.0.1"):
                for _ in range(4):
                    mine[0].sendto(b"x" * 64, (host, plane.socket.getsockname()[1]))
                plane.serve(plane.protocol.counters.datagrams_in + 4)
                assert answers(mine[:1], 4) == [[(b"x" * 64, host)] * 4], turn


@needs_the_native_loop
def test_a_socket_that_only_fails_in_the_native_loop_is_paused():
    with both(Echo(), "udp://127.0.0.1:0", Rate(0, 0), NativeLoop) as (_plain, plane, (_, mine)):
        lane = plane.lane
        assert isinstance(lane, DatagramLane)
        for _ in range(A_TURN):
            assert not plane.clock.getDelayedCalls()
            lane._told(plane.socket.fileno(), What.FAILED, 0, 0)
        mine[0].sendto(b"waits", ("127.0.0.1", plane.socket.getsockname()[1]))
        plane.turn()
        assert plane.told == {}
        plane.clock.advance(REST)
        plane.serve(1)
        assert answers(mine[:1], 1) == [[(b"waits", "127.0.0.1")]]


@needs_the_native_loop
def test_the_native_loop_knows_more_sources_than_the_cache_of_decisions():
    """A batch of new sources is remembered at once: Python forgets its decisions about the earliest meanwhile."""
    with both(Echo(), "udp://127.0.0.1:0", Rate(0, 0), NativeLoop) as (_plain, plane, _), ExitStack() as stack:
        lane, place = plane.lane, ("127.0.0.1", plane.socket.getsockname()[1])
        assert isinstance(lane, DatagramLane)
        stack.enter_context(mock.patch("echod.fastpath.gate_cache.REMEMBERED", 8))
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(24)]
        in_python = []
        for turn in range(3):
            with mock.patch.object(lane, "_answer_turn", wraps=lane._answer_turn) as answer:
                for at in range(0, len(clients), 4):
                    for client in clients[at : at + 4]:
                        client.sendto(b"x", place)
                    plane.serve(turn * len(clients) + at + 4)
            in_python.append(answer.called)
            assert answers(clients, len(clients)) == [[(b"x", "127.0.0.1")]] * len(clients)
        assert (in_python[0], in_python[-1]) == (True, False)


@needs_the_native_loop
def test_the_native_loop_receives_single_datagrams_and_bursts():
    """After one datagram it asks for one at a time, most of the time. An empty one is a datagram too."""
    with both(Echo(), "udp://127.0.0.1:0", Rate(0, 0), NativeLoop) as (_plain, plane, (_, mine)):
        place, sent = ("127.0.0.1", plane.socket.getsockname()[1]), 0
        for burst in (*[1] * 20, 30, 1, 2, *[1] * 9, 64, 64):
            payloads = [bytes([at]) * ((sent + at) % 3 * 400) for at in range(burst)]
            for payload in payloads:
                mine[0].sendto(payload, place)
            sent += burst
            plane.serve(sent)
            assert answers(mine[:1], burst) == [[(payload, "127.0.0.1") for payload in payloads]]
        assert plane.told["datagrams_out"] == plane.told["datagrams_in"] == sent
        assert plane.told["bytes_out"] == plane.told["bytes_in"]
