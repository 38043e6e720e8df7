"""A stop with much data in flight: clients that read get everything, others are reset at the end; exit code 0."""

import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Final

import pytest

from tests.chaos.faults import connections
from tests.contract.matrix import MIB, data, exactly, rest
from tests.daemon import Daemon, eventually
from tests.fastpath.clients import PLANES, SCHEMES, Crowd, both, configuration, connect, counted, ended

IN_FLIGHT: Final = 40 * MIB
EACH: Final = MIB
STUCK: Final = 5
TRANSFORMS: Final[Mapping[str, Callable[[bytes], bytes]]] = {"echo": bytes, "upper": bytes.upper}


def wide(daemon: Daemon, service: str) -> socket.socket:
    """A client with a large receive buffer."""
    client = socket.socket(socket.AF_INET)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MIB)
    client.connect(daemon.inet(service, "tcp"))
    return client


def test_data_in_flight_at_a_stop_arrives():
    """While other clients do not read. A second signal ends the stop: with a short `drain`, slow readers would lose."""
    with ExitStack() as stack:
        daemons = stack.enter_context(both(*TRANSFORMS, daemon='drain = "600s"'))
        crowds = []
        stuck = []
        for daemon in daemons.values():
            for service, transform in TRANSFORMS.items():
                clients = [stack.enter_context(wide(daemon, service)) for _ in range(IN_FLIGHT // EACH)]
                crowds.append(Crowd(clients, transform))
                crowds[-1].fill(daemon, EACH)
                assert sum(crowds[-1].sent) == IN_FLIGHT
                silent = [
                    stack.enter_context(connect(daemon.place(service, "unix"), narrow=True)) for _ in range(STUCK)
                ]
                Crowd(silent).fill(daemon)
                stuck += silent
        for daemon in daemons.values():
            daemon.send_signal(signal.SIGTERM)
            daemon.stderr.wait_for(f"stopping: {2 * (IN_FLIGHT // EACH + STUCK)} connections have 600 s to end")
        for crowd in crowds:
            crowd.read_on()
        for plane, daemon in daemons.items():
            assert eventually(partial(only_unix, daemon))
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait() == 0
            for service in TRANSFORMS:
                figures = counted(daemon, service)
                number = IN_FLIGHT // EACH
                whole = {"accepted": number, "bytes_in": IN_FLIGHT, "bytes_out": IN_FLIGHT, "closed:done": number}
                assert figures == whole, f"plane {plane}"
                assert counted(daemon, service, "unix")["closed:drain"] == STUCK
            daemon.check()
        assert all(ended(client) for client in stuck)


def only_unix(daemon: Daemon) -> bool:
    """Whether the daemon has closed all of its TCP connections."""
    return not any(connections(daemon.process.pid, daemon.inet(service, "tcp")) for service in TRANSFORMS)


@pytest.mark.parametrize("plane", PLANES)
def test_a_client_that_does_not_read_is_reset_at_the_end_of_drain(plane):
    with Daemon(configuration(plane, "echo", daemon='drain = "1s"')) as daemon, ExitStack() as stack:
        stuck = [stack.enter_context(connect(daemon.place("echo", scheme), narrow=True)) for scheme in SCHEMES]
        Crowd(stuck).fill(daemon)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert all(ended(client) for client in stuck)
        assert [counted(daemon, "echo", scheme)["closed:drain"] for scheme in SCHEMES] == [1, 1]
        daemon.check()


@pytest.mark.parametrize("plane", PLANES)
def test_a_client_that_sends_during_a_stop_gets_its_replies(plane):
    """The stop only ends after silence."""
    with Daemon(configuration(plane, "echo", daemon='drain = "600s"')) as daemon:
        with connect(daemon.place("echo", "tcp")) as client, connect(daemon.place("echo", "unix")) as other:
            for one in (client, other):
                one.sendall(b"hello")
                assert exactly(one, 5) == b"hello"
            daemon.send_signal(signal.SIGTERM)
            daemon.stderr.wait_for("stopping: 2 connections")
            for at in range(0, 4 * MIB, MIB // 8):
                for one in (client, other):
                    one.sendall(data()[at : at + 10_000])
                    assert exactly(one, 10_000) == data()[at : at + 10_000]
            for one in (client, other):
                one.shutdown(socket.SHUT_WR)
                assert one.recv(1) == b""
        assert daemon.wait() == 0
        assert counted(daemon, "echo")["closed:done"] == 1
        daemon.check()


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
def test_a_second_signal_ends_it_without_waiting(plane, at_once):
    """Also if it arrives before the daemon has handled the first one."""
    with Daemon(configuration(plane, "echo", daemon='drain = "600s"')) as daemon, ExitStack() as stack:
        clients = [
            stack.enter_context(connect(daemon.place("echo", scheme), narrow=True))
            for scheme in ("tcp", "unix")
            for _ in range(3)
        ]
        Crowd(clients[::2]).fill(daemon)
        if at_once:
            daemon.send_signal(signal.SIGSTOP)
            daemon.send_signal(signal.SIGTERM)
            daemon.send_signal(signal.SIGINT)
            daemon.send_signal(signal.SIGCONT)
        else:
            daemon.send_signal(signal.SIGTERM)
            daemon.stderr.wait_for("stopping: 6 connections have 600 s to end")
            daemon.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert all(ended(client) for client in clients)
        figures = [counted(daemon, "echo", scheme) for scheme in ("tcp", "unix")]
        assert [one["accepted"] for one in figures] == [3, 3]
        assert sum(one["closed:drain"] for one in figures) == 6
        daemon.check()


def test_a_client_that_reads_late_gets_all_pending_output_and_endless_output_is_cut():
    """A stop only cuts output that is endless."""
    said = 400  # lines, more than a Unix socket holds
    limits = "lines-per-second = 0\nroom-lines-per-second = 0\nhistory = 0"
    services = f'[services.chat]\nlisten = ["unix://{{dir}}/chat"]\n{limits}\n'
    services += '[services.chargen]\nlisten = ["unix://{dir}/chargen"]\n'
    with Daemon(f'[daemon]\ndrain = "600s"\n{services}') as daemon:
        place, endless = daemon.place("chat", "unix"), daemon.place("chargen", "unix")
        with connect(place) as late, connect(place) as speaker, connect(endless) as generated:
            assert late.recv(1000).startswith(b"-- welcome")
            for number in range(said):
                speaker.sendall(b"line %06d %b\n" % (number, b"." * 990))
            speaker.sendall(b"/who\n")
            heard = b""
            while b"-- in lobby" not in heard:  # the reply, after everything else
                heard += speaker.recv(1000)
            daemon.send_signal(signal.SIGTERM)
            daemon.stderr.wait_for("stopping: 3 connections have 600 s to end")
            rest(generated)  # it ends
            lines = rest(late).splitlines()
            missing = sum(int(line.split()[1]) for line in lines if line.endswith(b"you read too slowly"))
            assert sum(b": line " in line for line in lines) + missing == said
        assert daemon.wait() == 0
        assert "closed:drain" not in counted(daemon, "chat", "unix")
        daemon.check()
