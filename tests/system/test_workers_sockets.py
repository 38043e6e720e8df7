"""The sockets of worker processes: those of a socket unit, and those of UDP while one daemon follows another."""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.activation import activated
from tests.contract.matrix import exactly
from tests.daemon import SECONDS, Daemon, eventually, free_port
from tests.manager import Held, Manager
from tests.system.test_workers import FLOWS, is_replaced, pids

CONFIG = """
[daemon]
workers = 2
drain = "{drain}"
[admin]
listen = ["unix://{{dir}}/admin.sock"]
[services.echo]
listen = [{listen}]
"""


def place_of(opened: socket.socket) -> tuple[str, int] | str:
    place: tuple[str, int] | str = opened.getsockname()
    return place


def asked(opened: socket.socket, message: bytes, number: int) -> bytes:
    """The reply of the daemon that serves this socket to a new client. `number` is part of its name."""
    with socket.socket(opened.family, opened.type) as client:
        client.settimeout(SECONDS)
        if opened.family == socket.AF_UNIX and opened.type == socket.SOCK_DGRAM:
            client.bind(f"\0{os.getpid()}-{number}-{opened.fileno()}")
        client.connect(place_of(opened))
        client.sendall(message)
        return exactly(client, len(message)) if opened.type == socket.SOCK_STREAM else client.recv(100)


@pytest.mark.slow
def test_the_sockets_of_a_unit_are_served_by_all_workers(tmp_path: Path) -> None:
    """All types of one name; each is also served after a worker was killed, and by the next daemon."""
    kinds: list[tuple[int, int, Any]] = [
        (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        (socket.AF_UNIX, socket.SOCK_STREAM, f"{tmp_path}/s"),
        (socket.AF_UNIX, socket.SOCK_DGRAM, f"{tmp_path}/d"),
    ]
    with ExitStack() as stack:
        passed = []
        for family, kind, place in kinds:
            one = stack.enter_context(socket.socket(family, kind))
            one.bind(place)
            if kind == socket.SOCK_STREAM:
                one.listen(7)
            passed.append(("echo", one))
        config = CONFIG.format(drain="1s", listen='"systemd:echo"')
        for turn in range(2):
            with activated(passed, config) as daemon:
                for number in range(FLOWS):  # so many clients that each worker serves some
                    assert [asked(one, b"hello", number) for _, one in passed] == [b"hello"] * len(kinds)
                first = pids(daemon)[turn]
                os.kill(first, signal.SIGKILL)
                assert eventually(partial(is_replaced, daemon, first))
                for number in range(FLOWS):
                    assert [asked(one, b"again", number) for _, one in passed] == [b"again"] * len(kinds)
                assert daemon.stop() == 0


@pytest.mark.parametrize("workers", [pytest.param(2, id="two", marks=pytest.mark.slow), pytest.param(1, id="one")])
def test_datagrams_that_arrive_during_the_drain_wait_for_the_next_daemon(tmp_path: Path, workers: int) -> None:
    """Those of every flow: the flows of a worker that ended wait in the socket that the manager keeps."""
    port = free_port()
    config = CONFIG.format(drain="60s", listen=f'"tcp://127.0.0.1:{port}", "udp://127.0.0.1:{port}"')
    with Manager(tmp_path) as manager, ExitStack() as stack:
        environ = {"NOTIFY_SOCKET": manager.where}
        first = stack.enter_context(Daemon(config, environ=environ))
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(FLOWS)]
        for client in clients:
            client.connect(("127.0.0.1", port))
        unread = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        unread.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                unread.send(bytes(65_536))
        first.send_signal(signal.SIGTERM)
        number, waiting = 0, {client: set[bytes]() for client in clients}
        while not all(waiting.values()):  # until no worker replies to any flow
            number += 1
            assert number < 1000
            for client in clients:
                client.send(b"%d" % number)
                waiting[client].add(b"%d" % number)
            answered(waiting)
        assert first.stop() == 0
        passed = [(name, Held(stored)) for name, stored in manager.stored]
        with activated(passed, config.replace("workers = 2", f"workers = {workers}"), environ=environ) as after:
            assert eventually(lambda: answered(waiting) and not any(waiting.values())), waiting
            for _ in range(3):  # each worker gets flows again
                for client in clients:
                    client.send(b"hello")
                    client.settimeout(SECONDS)
                    assert client.recv(100) == b"hello"
            assert after.stop() == 0


def answered(waiting: dict[socket.socket, set[bytes]]) -> bool:
    """Remove what has a reply, until none arrives for 200 ms. Always true."""
    while ready := select.select(list(waiting), [], [], 0.2)[0]:
        for client in ready:
            waiting[client].discard(client.recv(100))
    return True
