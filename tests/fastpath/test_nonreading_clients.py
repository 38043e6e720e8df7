"""Clients that do not read: their cost is bounded, others are served, and no data is missing when they read again."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import pytest

from echod.fastpath import syscalls
from echod.fastpath.pipes import CAPACITY, SPARE, STUCK
from tests.contract.matrix import data, exactly
from tests.daemon import Daemon, eventually
from tests.fastpath.clients import Crowd, configuration, connect, counted, held, pipe_sizes, pipes, within

pytestmark = pytest.mark.skipif(not syscalls.available, reason="the fast path is not available")

CLIENTS: Final = 400
SLACK: Final = 8 << 20  # bytes that a process may allocate for other purposes


@contextmanager
def crowd(daemon: Daemon, scheme: str, number: int = CLIENTS, service: str = "echo") -> Iterator[Crowd]:
    """So many clients that send much and do not read."""
    with ExitStack() as stack:
        place = daemon.place(service, scheme)
        made = Crowd([stack.enter_context(connect(place, narrow=True)) for _ in range(number)])
        yield made


def is_served(client: socket.socket) -> bool:
    """Whether this client gets its replies, small and large."""
    client.sendall(b"and I?")
    if exactly(client, 6) != b"and I?":
        return False
    for at in range(0, 1 << 20, 20_000):
        client.sendall(data()[at : at + 20_000])
        if exactly(client, 20_000) != data()[at : at + 20_000]:
            return False
    return True


@pytest.mark.parametrize(("plane", "scheme"), [("auto", "tcp"), ("auto", "unix"), ("off", "tcp")])
def test_clients_that_do_not_read_are_bounded_and_lose_nothing(plane, scheme):
    with Daemon(configuration(plane, "echo")) as daemon:
        pid = daemon.process.pid
        with crowd(daemon, scheme) as stuck, connect(daemon.place("echo", scheme)) as other:
            assert is_served(other)
            begun, memory = pipes(pid), daemon.memory()
            stuck.fill(daemon)
            assert min(stuck.sent) > CAPACITY
            if plane == "auto":
                assert pipes(pid) == begun + STUCK
            in_memory = (CLIENTS - STUCK) * CAPACITY if plane == "auto" else CLIENTS * CAPACITY
            assert daemon.memory() <= memory + in_memory + SLACK
            assert is_served(other)
            stuck.read_on()
            assert is_served(other)
            assert eventually(lambda: pipes(pid) <= begun + SPARE)
        figures = counted(daemon, "echo", scheme)
        assert figures["bytes_in"] == figures["bytes_out"] > sum(stuck.sent)
        assert figures["accepted"] == figures["closed:done"] == CLIENTS + 1
        daemon.check()


def test_a_stalled_client_that_leaves_leaves_no_resource():
    with Daemon(configuration("auto", "echo")) as daemon:
        pid = daemon.process.pid
        with connect(daemon.place("echo", "unix")) as first:
            assert is_served(first)
        begun, memory = pipes(pid), daemon.memory()
        for _ in range(2):
            with crowd(daemon, "unix") as stuck:
                stuck.fill(daemon)
                assert pipes(pid) >= begun + STUCK
            assert eventually(lambda: pipes(pid) <= begun + SPARE)
            assert daemon.memory() <= memory + (CLIENTS - STUCK) * CAPACITY + SLACK
        figures = counted(daemon, "echo", "unix")
        assert figures["accepted"] == figures["closed:lost"] + 1 == 2 * CLIENTS + 1
        daemon.check()


@pytest.mark.parametrize(("buffer", "smallest"), [("1MiB", 8192), ("2MiB", 65_536)])
def test_a_user_at_the_limit_of_pipe_pages(buffer, smallest):
    """A user may have some pipes of 1 MiB only, and the next ones hold two pages; 2 MiB is refused."""
    config = configuration("auto", "echo", buffer=buffer)
    with Daemon(config, command=within(unprivileged=True)) as daemon:
        with crowd(daemon, "tcp", 120) as stuck, connect(daemon.place("echo", "tcp")) as other:
            stuck.fill(daemon)
            assert min(pipe_sizes(daemon.process.pid)) <= smallest
            assert is_served(other)
            stuck.read_on()
            assert is_served(other)
        figures = counted(daemon, "echo")
        assert figures["bytes_in"] == figures["bytes_out"]
        assert figures["accepted"] == figures["closed:done"] == 121
        daemon.check()


def test_without_a_descriptor_for_another_pipe_data_waits_in_memory():
    """All clients are connected when the descriptors run out."""
    with Daemon(configuration("auto", "echo")) as daemon:
        pid = daemon.process.pid
        with crowd(daemon, "unix") as stuck, connect(daemon.place("echo", "unix")) as other:
            assert is_served(other)
            assert eventually(lambda: held(pid)["socket"] >= CLIENTS + 1)
            begun, memory = pipes(pid), daemon.memory()
            highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 11, highest + 11))
            stuck.fill(daemon)
            assert pipes(pid) <= begun + 5 + SPARE
            assert daemon.memory() <= memory + CLIENTS * CAPACITY + SLACK
            assert is_served(other)
            stuck.read_on()
            assert is_served(other)
        figures = counted(daemon, "echo", "unix")
        assert figures["accepted"] == figures["closed:done"] == CLIENTS + 1
        daemon.check()
