"""One listener in this process; the test turns its loop and moves its clock. On the fast path and the plain path."""

import contextlib
import errno
import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import pytest
from twisted.internet.epollreactor import EPollReactor

from echod.events import Closing
from echod.fastpath import syscalls
from echod.fastpath.loop import Loop
from echod.fastpath.stream_lane import StreamLane
from echod.model import Service
from echod.services.discard import Discard
from echod.services.echo import Echo
from echod.services.print_message import printing
from echod.services.upper import Upper
from echod.transports.accept_backoff import SpareDescriptor
from echod.transports.service_factory import ServiceFactory
from echod.transports.stream_port import A_TURN
from echod.transports.stream_socket import StreamSocket
from echod.transports.tcp import TCPPort
from tests.contract.matrix import data
from tests.fastpath.clients import pipes, reset
from tests.fastpath.listener import IDLE, LOOPS, STALL, Listener, both_loops, listener, needs_the_plane, unsent
from tests.fastpath.reactors import failures, reactor_of


class Twice(Service):
    """A pure function of the bytes, with twice the length."""

    kind = "twice"
    summary = "returns everything twice"
    transform = staticmethod(lambda said: bytes(octet for octet in said for _ in range(2)))


class Letters(Service):
    """A pure function of the bytes, whose result is often empty."""

    kind = "letters"
    summary = "returns the letters"
    transform = staticmethod(lambda said: bytes(octet for octet in said if chr(octet).isalpha()))


def fragile(said: bytes) -> bytes:
    if b"bug" in said:
        raise RuntimeError("a bug")
    return said


class Fragile(Service):
    """It raises when a client sends the word."""

    kind = "fragile"
    summary = "fails now and then"
    transform = staticmethod(fragile)


@pytest.mark.parametrize("service", [Echo, Upper])
def test_data_comes_back(make, service):
    with make(service()) as made:
        client = made.connect()
        client.send(b"Hello")
        assert made.hear(client, 5) == service.transform(b"Hello")
        client.shutdown(socket.SHUT_WR)
        assert made.rest(client) == b""
        assert (made.counters.bytes_in, made.counters.bytes_out, made.counters.closed) == (5, 5, {Closing.DONE: 1})


@pytest.mark.parametrize("service", [Echo, Upper])
def test_a_stalled_client_gets_everything(make, service):
    with make(service()) as made:
        client = made.connect()
        sent = made.stick(client)
        client.shutdown(socket.SHUT_WR)
        assert made.rest(client) == service.transform(data()[:sent])
        assert (made.counters.bytes_in, made.counters.bytes_out, made.counters.closed) == (
            sent,
            sent,
            {Closing.DONE: 1},
        )


def test_the_reply_of_a_client_that_left_reaches_no_other_client(make):
    """Data that was read and cannot be sent is dropped, and must not reach the next client."""
    with make(Echo()) as made:
        for _ in range(20):
            client = made.connect()
            client.send(b"a secret")
            reset(client)
        made.until(lambda: made.counters.open == 0)
        client = made.connect()
        client.send(b"?")
        client.shutdown(socket.SHUT_WR)
        assert made.rest(client) == b"?"


@pytest.mark.parametrize("scheme", ["unix"])  # TCP accepts a reply until it learns that the peer has closed
@pytest.mark.parametrize("service", [Echo, Upper])
def test_bytes_that_were_not_sent_are_not_counted_as_sent(make, service):
    """A closed Unix peer leaves its sent data to be read, and accepts no reply."""
    with make(service()) as made:
        client = made.connect()
        client.send(b"hello")
        client.close()
        made.until(lambda: made.counters.open == 0)
        assert (made.counters.bytes_in, made.counters.bytes_out) == (5, 0)
        assert made.counters.closed == {Closing.LOST: 1}


@pytest.mark.parametrize("service", [Echo, Upper])
def test_pending_bytes_of_a_lost_client_are_not_counted_as_sent(make, service):
    with make(service()) as made:
        client = made.connect()
        made.stick(client)
        left = unsent(made)
        assert left
        reset(client)
        made.until(lambda: made.counters.open == 0)
        assert made.counters.bytes_in - made.counters.bytes_out == left
        assert made.counters.closed == {Closing.LOST: 1}


def test_a_reused_descriptor_number_starts_with_new_counters(make):
    """Bytes count from 0, and idle time from now."""
    with make(Echo()) as made:
        for _ in range(5):
            client = made.connect()
            client.send(b"hello")
            assert made.hear(client, 5) == b"hello"
            made.pass_time(IDLE * 0.9)
            client.close()
            made.until(lambda: made.counters.open == 0)
        assert (made.counters.bytes_in, made.counters.bytes_out, made.counters.closed) == (25, 25, {Closing.DONE: 5})


@pytest.mark.parametrize("service", [Echo, Upper, Twice, Letters])
def test_open_connections_are_counted_exactly_after_a_flush_of_counters(make, service):
    """At any moment and repeatedly: during traffic, with a stalled client, and at the end."""
    with make(service()) as made:
        talking, stuck = made.connect(), made.connect()
        sent = gone = 0
        for _ in range(3):
            talking.send(b"Hello 1")
            gone += len(made.hear(talking, len(service.transform(b"Hello 1"))))
            sent += 7
            made.factory.flush_counters()
            made.factory.flush_counters()
            assert (made.counters.bytes_in, made.counters.bytes_out) == (sent, gone)
        made.stick(stuck)
        made.factory.flush_counters()
        left = unsent(made)
        assert left
        came = made.counters.bytes_in
        assert made.counters.bytes_out == gone + len(service.transform(data()[: came - sent])) - left
        reset(stuck)
        made.until(lambda: made.counters.open == 1)
        made.factory.flush_counters()
        assert made.counters.bytes_in >= came
        before = made.counters.bytes_in, made.counters.bytes_out
        talking.close()
        made.until(lambda: made.counters.open == 0)
        assert (made.counters.bytes_in, made.counters.bytes_out) == before


@pytest.mark.parametrize("service", [Echo, Upper])
def test_flushed_counters_are_not_counted_again_at_a_hand_over(make, service):
    with make(service()) as made:
        client = made.connect()
        sent = made.stick(client)
        made.factory.flush_counters()
        made.stop()
        made.factory.flush_counters()
        client.shutdown(socket.SHUT_WR)
        assert made.rest(client) == service.transform(data()[:sent])
        made.until(lambda: made.counters.open == 0)
        assert (made.counters.bytes_in, made.counters.bytes_out) == (sent, sent)


# time


def test_an_idle_connection_is_closed_at_idle(make):
    with make(Echo()) as made:
        silent, talks = made.connect(), made.connect()
        for _ in range(4):
            made.pass_time(IDLE * 0.4)
            talks.send(b".")
            assert made.hear(talks, 1) == b"."
        assert made.rest(silent) == b""
        assert made.counters.closed == {Closing.IDLE: 1}
        made.pass_time(IDLE * 1.1)
        assert made.rest(talks) == b""
        assert made.counters.closed == {Closing.IDLE: 2}


@pytest.mark.parametrize("service", [Echo, Upper])
def test_a_peer_that_reads_nothing_is_reset_at_stall(make, service):
    with make(service(), idle=0.0) as made:
        stuck, slow = made.connect(), made.connect()
        made.stick(stuck)
        waits = made.stick(slow)
        for _ in range(4):
            made.pass_time(STALL * 0.4)
            made.hear(slow, waits)
            waits = made.stick(slow)
        assert made.counters.closed == {Closing.STALL: 1}
        made.pass_time(STALL * 1.2)
        assert made.counters.closed == {Closing.STALL: 2}


def test_without_limits_no_client_is_disconnected(make):
    with make(Echo(), idle=0.0, stall=0.0) as made:
        made.connect()
        made.stick(made.connect())
        made.pass_time(1000)
        assert made.counters.closed == {}


def test_a_peer_with_pending_output_is_not_idle(make):
    with make(Echo(), idle=STALL / 2) as made:
        made.stick(made.connect())
        made.pass_time(STALL * 0.9)
        assert made.counters.closed == {}
        made.pass_time(STALL * 0.3)
        assert made.counters.closed == {Closing.STALL: 1}


@pytest.mark.parametrize("scheme", ["tcp"])
def test_a_peer_that_is_disconnected_at_stall_gets_rst_after_the_sent_data(make):
    """Also if the daemon has read everything, and a plain close would look like the end of the reply."""
    with make(Echo(), idle=0.0) as made:
        client = made.connect()
        while not unsent(made):
            client.send(data()[:500])
            made.turn(3)
        made.pass_time(STALL * 1.2)
        assert made.counters.closed == {Closing.STALL: 1}
        with pytest.raises(ConnectionResetError):
            made.rest(client)


@pytest.mark.parametrize("scheme", ["unix"])  # TCP accepts a part of a piece, which counts as progress
def test_the_time_to_take_an_answer_begins_with_the_answer(make):
    """Not with the idle time before it: a peer that was idle for 0.9 of `stall` has the full time for its reply."""
    with make(Echo(), idle=0.0) as made:
        client = made.connect()
        while not unsent(made):
            made.pass_time(STALL * 0.9)
            client.send(data()[:2000])
            made.turn()
        made.pass_time(STALL * 0.5)
        assert made.counters.closed == {}
        made.pass_time(STALL * 0.6)
        assert made.counters.closed == {Closing.STALL: 1}


# lengths


@pytest.mark.parametrize(("service", "said", "due"), [(Twice, b"abc", b"aabbcc"), (Letters, b"a1b2c3", b"abc")])
def test_an_answer_of_another_length(make, service, said, due):
    """A transform is any pure function of the bytes; it need not keep their number."""
    with make(service()) as made:
        client = made.connect()
        for _ in range(3):
            client.send(said)
            assert made.hear(client, len(due)) == due
        client.send(b"1")
        made.turn()
        client.shutdown(socket.SHUT_WR)
        assert made.rest(client) == service.transform(b"1")
        assert made.counters.bytes_in == 3 * len(said) + 1
        assert made.counters.bytes_out == 3 * len(due) + len(service.transform(b"1"))


@pytest.mark.parametrize("service", [Twice, Letters])
def test_an_answer_of_another_length_to_a_stalled_client(make, service):
    with make(service()) as made:
        client = made.connect()
        sent = made.stick(client)
        client.shutdown(socket.SHUT_WR)
        due = service.transform(data()[:sent])
        assert made.rest(client) == due
        assert (made.counters.bytes_in, made.counters.bytes_out) == (sent, len(due))


@needs_the_plane
def test_an_answer_of_another_length_has_its_full_time(tmp_path):
    """11 pending bytes of a reply to 10 must not look like a connection without earlier traffic."""
    with ExitStack() as stack:
        takes = [9]

        def write(_descriptor: int, _data: bytes) -> int:
            if not takes:
                raise BlockingIOError
            return takes.pop()

        stack.enter_context(mock.patch("os.write", write))
        made = stack.enter_context(listener("plane", "tcp", tmp_path, Twice()))
        made.pass_time(STALL * 2)
        client = made.connect()
        client.send(bytes(10))
        made.until(lambda: unsent(made) == 11)
        made.pass_time(STALL * 0.5)
        assert made.counters.closed == {}
        made.pass_time(STALL)
        assert made.counters.closed == {Closing.STALL: 1}


@pytest.mark.parametrize("scheme", ["tcp"])  # a Unix socket has no reset of its own
@pytest.mark.parametrize("service", [Echo, Upper])
@pytest.mark.parametrize("way", [pytest.param("plane", marks=needs_the_plane), "plain"])
def test_a_peer_that_loses_a_reply_gets_no_fin(make, service):
    """For every error of send: after a FIN, a peer would believe that it has everything. For the native loop,
    tests/system_wide/test_failing_calls.py lets its calls fail.
    """
    real_splice, real_write, broken = os.splice, os.write, [False]

    def splice(source, target, *more):
        if broken[0] and stat.S_ISSOCK(os.fstat(target).st_mode):
            raise OSError(errno.EIO, "")
        return real_splice(source, target, *more)

    def write(descriptor, data):
        if broken[0]:
            raise OSError(errno.EIO, "")
        return real_write(descriptor, data)

    with ExitStack() as stack:
        stack.enter_context(mock.patch("os.splice", splice))
        stack.enter_context(mock.patch("os.write", write))
        made = stack.enter_context(make(service()))
        client = made.connect()
        client.send(b"here")
        assert made.hear(client, 4) == service.transform(b"here")
        broken[0] = True
        stack.enter_context(mock.patch.object(StreamSocket, "_give", side_effect=OSError(errno.EIO, "")))
        client.send(b"lost")
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            made.rest(client)
        assert made.counters.closed == {Closing.LOST: 1}
        assert (made.counters.bytes_in, made.counters.bytes_out) == (8, 4)


# the gate and the listener


def test_a_refused_client_is_reset(make):
    with make(Echo(), connections=2) as made:
        first, _ = made.connect(), made.connect()
        third = made.connect()
        made.turn()
        with pytest.raises(ConnectionResetError) if third.family == socket.AF_INET else ExitStack():
            assert third.recv(1) == b""
        assert dict(made.counters.refused) == {"connections": 1}
        first.close()
        made.until(lambda: made.counters.open == 1)
        fourth = made.connect()
        fourth.send(b"and now?")
        assert made.hear(fourth, 8) == b"and now?"


@needs_the_plane
def test_a_service_that_needs_its_bytes_in_python_uses_the_plain_path():
    with reactor_of(EPollReactor) as reactor, socket.create_server(("127.0.0.1", 0)) as listening:
        plain = TCPPort(reactor, listening, ServiceFactory(Discard()), SpareDescriptor(), listening.close)
        with pytest.raises(ValueError, match="discard"):
            StreamLane(Loop(reactor), plain, SpareDescriptor())


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """No descriptor above the highest one that is open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = []
    try:
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        try:
            while True:
                opened.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        yield
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_clients_are_refused_and_the_listener_pauses(make):
    with make(Echo()) as made:
        served = made.connect()
        clients = [made.clients.enter_context(socket.socket(made.listening.family)) for _ in range(3)]
        with no_more_descriptors():
            for client in clients:
                client.connect(made.place)
                client.setblocking(False)
            made.turn()
            assert [name for name, _ in made.events] == ["accept.paused"]
            assert made.events[0][1]["error"] == "EMFILE"
            assert dict(made.counters.refused) == {"accept": 3}
            served.send(b"still?")
            assert made.hear(served, 6) == b"still?"
        client = made.connect()
        assert [name for name, _ in made.events] == ["accept.paused", "accept.resumed"]
        client.send(b"again")
        assert made.hear(client, 5) == b"again"


def test_a_paused_listener_can_stop(make):
    with make(Echo()) as made:
        clients = [made.clients.enter_context(socket.socket(made.listening.family)) for _ in range(2)]
        with no_more_descriptors():
            for client in clients:
                client.connect(made.place)
                made.turn()
            assert made.events
            made.stop()
        made.turn()
        assert made.reactor.getDelayedCalls() == []


def test_an_error_of_one_connection_does_not_pause_the_listener(make, way):
    """ECONNABORTED and the like: one is ignored, repeated ones pause the listener."""
    with make(Echo()) as made:
        made.connect()
        if way in LOOPS:
            broken = mock.Mock(wraps=syscalls.C)
            broken.accept4.side_effect = abort
            patch = mock.patch.object(syscalls, "C", broken)
        else:
            patch = mock.patch.object(made.port, "socket", mock.Mock(wraps=made.listening, accept=abort))
        client = made.clients.enter_context(socket.socket(made.listening.family))
        with patch:
            client.connect(made.place)
            made.turn()
        assert [(name, fields["error"]) for name, fields in made.events] == [("accept.paused", "ECONNABORTED")]
        made.until(lambda: made.counters.accepted == 2)
        assert made.events[-1][0] == "accept.resumed"


def abort(*_: object) -> int:
    """As accept(2) and accept4(2) do it."""
    syscalls.ffi.errno = errno.ECONNABORTED
    if _:
        return -1
    raise ConnectionAbortedError(errno.ECONNABORTED, "aborted")


@both_loops
def test_a_connection_that_cannot_be_watched_is_lost(tmp_path, way):
    """epoll(7) has a limit for each user, and needs memory."""
    with listener(way, "tcp", tmp_path, Echo()) as made:
        with mock.patch.object(made.loop, "watch", side_effect=OSError(errno.ENOSPC, "no space")):
            client = made.connect()
        made.turn()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert made.counters.closed == {Closing.LOST: 1}


def test_a_flood_of_connections_is_accepted_in_turns(make):
    with make(Echo()) as made:
        clients = [made.clients.enter_context(socket.socket(made.listening.family)) for _ in range(3 * A_TURN)]
        for client in clients:
            client.connect(made.place)
        made.reactor.iterate(0)
        assert made.counters.accepted <= A_TURN
        made.turn()
        assert made.counters.accepted == len(clients)


# the stop


def test_connections_in_the_backlog_at_a_stop_are_served(make):
    with make(Echo()) as made:
        clients = [made.clients.enter_context(socket.socket(made.listening.family)) for _ in range(2 * A_TURN)]
        for client in clients:
            client.connect(made.place)
            client.send(b"in time")
            client.shutdown(socket.SHUT_WR)
            client.setblocking(False)
        made.stop()
        assert [made.rest(client) for client in clients] == [b"in time"] * len(clients)
        assert made.counters.closed == {Closing.DONE: len(clients)}


@pytest.mark.parametrize("service", [Echo, Upper, Twice])
def test_open_connections_continue_at_a_stop(make, service):
    """Idle, stalled, half-closed, in the middle of data, and gone: none loses a byte, and each is counted once."""
    with make(service()) as made:
        silent, stuck, finished, gone, left = (made.connect() for _ in range(5))
        gone_by_reset = gone.family == socket.AF_INET  # a Unix socket only closes
        silent.send(b"Hello")
        answer = service.transform(b"Hello")
        assert made.hear(silent, len(answer)) == answer
        sent = made.stick(stuck)
        half = made.stick(finished)
        finished.shutdown(socket.SHUT_WR)
        reset(gone)
        left.send(b"now")
        made.stop()
        left.shutdown(socket.SHUT_WR)
        assert made.rest(left) == service.transform(b"now")
        assert made.rest(finished) == service.transform(data()[:half])
        silent.send(b"still")
        answer = service.transform(b"still")
        assert made.hear(silent, len(answer)) == answer
        stuck.shutdown(socket.SHUT_WR)
        assert made.rest(stuck) == service.transform(data()[:sent])
        silent.shutdown(socket.SHUT_WR)
        assert made.rest(silent) == b""
        made.until(lambda: made.counters.open == 0)
        assert made.counters.bytes_in == 5 + sent + half + 3 + 5
        assert made.counters.bytes_out == len(service.transform(data()[:1])) * made.counters.bytes_in
        lost = {Closing.LOST: 1} if gone_by_reset else {}
        assert made.counters.closed == {Closing.DONE: 5 - len(lost), **lost}


@both_loops
def test_pending_data_in_pipes_and_in_memory_is_handed_over(tmp_path, way):
    with mock.patch("echod.fastpath.pipes.STUCK", 3), listener(way, "unix", tmp_path, Echo()) as made:
        before = pipes(os.getpid())
        clients = [made.connect(narrow=False) for _ in range(6)]
        for client in clients:
            client.send(data()[:30_000])  # the native loop uses a pipe only after a large message
            assert made.hear(client, 30_000) == data()[:30_000]
        sent = [made.stick(client) for client in clients]
        assert pipes(os.getpid()) == before + 3
        made.stop()
        assert pipes(os.getpid()) == before - 1
        for client, size in zip(clients, sent, strict=True):
            client.shutdown(socket.SHUT_WR)
            assert made.rest(client) == data()[:size]
        assert made.counters.closed == {Closing.DONE: 6}


# bugs


def test_a_service_that_fails_loses_only_its_own_connection(make):
    """Logged once, reset at once, counted as failed; the others continue, and the listener stops normally."""
    with make(Fragile()) as made, failures() as logged:
        fragile, other = made.connect(), made.connect()
        fragile.send(b"fine")
        assert made.hear(fragile, 4) == b"fine"
        fragile.send(b"a bug")
        made.until(lambda: made.counters.closed)
        assert made.counters.closed == {Closing.FAILED: 1}
        with pytest.raises(ConnectionResetError) if fragile.family == socket.AF_INET else ExitStack():
            assert fragile.recv(1) == b""
        other.send(b"and I?")
        assert made.hear(other, 6) == b"and I?"
        made.turn()
        assert len(logged) == 1
        made.stop()
        other.shutdown(socket.SHUT_WR)
        assert made.rest(other) == b""
        assert (made.counters.bytes_in, made.counters.bytes_out) == (15, 10)


def is_reset(made: Listener, client: socket.socket) -> bool:
    """Whether a client that sends and does not read gets RST at the end, and not a FIN: data is missing."""
    try:
        made.stick(client)
        made.pass_time(2)
        made.rest(client)
    except ConnectionResetError:
        return True
    return False


@both_loops
@pytest.mark.parametrize("service", [Echo, Upper])
def test_a_bug_of_the_fast_path_loses_only_one_connection(tmp_path, way, service):
    """For an exception in any place: the peer does not wait without end, the loop does not spin, and can stop."""
    with listener(way, "tcp", tmp_path, service()) as made, failures() as logged:
        wrong, right = made.connect(), made.connect()
        left: list[int] = []

        def change(*_: object) -> None:
            left.append(unsent(made))
            raise RuntimeError("a bug")

        with mock.patch.object(made.loop, "change", change):
            assert is_reset(made, wrong)
        assert len(logged) == 1
        right.send(b"and I?")
        assert made.hear(right, 6) == service.transform(b"and I?")
        assert made.counters.closed == {Closing.FAILED: 1}
        made.stop()
        right.shutdown(socket.SHUT_WR)
        assert made.rest(right) == b""
        assert made.counters.bytes_in - made.counters.bytes_out == sum(left)


@both_loops
def test_after_any_failure_no_client_receives_data_of_another(tmp_path, way):
    """The shared pipe must be empty for the next client, even without memory to empty it into."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch("echod.fastpath.pipes.STUCK", 0))
        made = stack.enter_context(listener(way, "tcp", tmp_path, Echo()))
        logged = stack.enter_context(failures())
        wrong, right = made.connect(), made.connect()
        with mock.patch("echod.fastpath.pipes._read", side_effect=MemoryError):
            assert is_reset(made, wrong)
        assert len(logged) == 1
        right.send(b"and I?")
        assert made.hear(right, 6) == b"and I?"


@both_loops
def test_an_abandoned_descriptor_does_not_prevent_a_stop(tmp_path, way):
    with listener(way, "tcp", tmp_path, Upper()) as made, failures() as logged:
        wrong, right = made.connect(), made.connect()
        with mock.patch.object(made.port, "_send_rest", side_effect=RuntimeError("a bug")):
            made.stick(wrong)
            while not logged:
                with contextlib.suppress(BlockingIOError, ConnectionResetError):
                    wrong.recv(1 << 18)
                made.turn()
        made.turn()
        assert len(logged) == 1
        made.stop()
        right.send(b"still here")
        assert made.hear(right, 10) == b"STILL HERE"


@needs_the_plane
def test_a_transform_of_one_instance_is_ignored(tmp_path):
    """No option may change the reply of a kind: the class decides for all instances."""
    service = Discard()
    service.transform = bytes.upper  # type: ignore[misc]  # as another package might try
    with listener("plain", "tcp", tmp_path, service) as made:
        assert not StreamLane.can_serve(made.port)


@pytest.mark.parametrize(("how", "fast"), [("no", True), ("text", False), ("hex", False)])
@needs_the_plane
def test_only_a_service_that_does_not_print_uses_the_fast_path(tmp_path, how, fast):
    with listener("plain", "tcp", tmp_path, printing(Echo(), how)) as made:
        assert StreamLane.can_serve(made.port) is fast
