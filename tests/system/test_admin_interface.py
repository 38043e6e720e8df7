"""The admin interface of a running daemon: clients that do not read, crowds, other users, other names, full buffers."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.daemon import SECONDS, Daemon, Place, eventually, run

CONFIG = """
[defaults]
deny = ["127.0.0.9"]
limits.total-buffer = "256KiB"
[admin]
listen = ["unix://{dir}/admin.sock?mode=0666", "tcp://127.0.0.1:0"]
hosts = ["echo.example"]
group = "4242"
[services.echo]
listen = ["tcp://127.0.0.1:0"]
limits.connections = 500
"""
MIB = 2**20


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    if os.geteuid() != 0:
        pytest.skip("giving a socket to a group, and asking as other users, takes root")
    with Daemon(CONFIG) as running:
        os.chmod(running.dir, 0o755)
        yield running
        running.check()


def unix(daemon: Daemon) -> str:
    return str(daemon.dir / "admin.sock")


def connected(place: Place) -> socket.socket:
    client = socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET)
    client.settimeout(SECONDS)
    client.connect(place)
    return client


def ask(place: Place, path: str = "/healthz", method: str = "GET", host: str = "localhost") -> bytes:
    with connected(place) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        said = b""
        while piece := client.recv(65_536):
            said += piece
    return said


def ask_as(daemon: Daemon, user: int, groups: list[int], path: str, method: str = "GET") -> bytes:
    """The response to another user."""
    asking = (
        f"import os, socket\nos.setgroups({groups}); os.setgid({user}); os.setuid({user})\n"
        "with socket.socket(socket.AF_UNIX) as client:\n"
        f"    client.settimeout({SECONDS}); client.connect({unix(daemon)!r})\n"
        f"    client.sendall(b'{method} {path} HTTP/1.1\\r\\nHost: x\\r\\n')\n"
        "    client.sendall(b'Connection: close\\r\\nContent-Length: 0\\r\\n\\r\\n')\n"
        "    print(client.makefile('rb').read().decode())\n"
    )
    return run(sys.executable, "-c", asking).stdout


@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_a_client_that_sends_requests_and_reads_nothing_costs_no_memory(daemon, where):
    place = unix(daemon) if where == "unix" else daemon.inet("admin", "tcp")
    before = daemon.memory()
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(place)) for _ in range(10)]
        sent = 0
        for _ in range(500):
            for client in clients:
                client.settimeout(0.01)
                with suppress(TimeoutError, ConnectionError):  # no room; or reset, having sent more than may wait
                    sent += client.send(request * 20)
        assert sent > 10 * len(request) * 20
        assert ask(unix(daemon)).startswith(b"HTTP/1.1 200")
        assert daemon.memory() - before < 16 * MIB


def test_root_has_replies_while_tcp_clients_use_every_slot(daemon):
    with ExitStack() as stack:
        for _ in range(300):
            with suppress(ConnectionError):  # it may be reset before connect returns
                client = stack.enter_context(connected(daemon.inet("admin", "tcp")))
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        for _ in range(200):
            assert ask(unix(daemon), "/api/status").startswith(b"HTTP/1.1 200")


def test_root_has_replies_while_the_total_buffer_is_exhausted(daemon):
    with ExitStack() as stack:

        def stuck() -> bool:
            client = stack.enter_context(connected(daemon.inet("echo", "tcp")))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(0.05)
            with suppress(TimeoutError):
                while True:
                    client.send(bytes(65_536))
            found = re.search(rb"\nechod_unsent_bytes ([0-9.e+]+)", ask(unix(daemon), "/metrics"))
            return found is not None and float(found[1]) > 256 * 1024

        assert eventually(stuck), daemon.log()
        said = ask(unix(daemon), "/metrics")
        assert said.startswith(b"HTTP/1.1 200")
        assert said.endswith(b"0\r\n\r\n"), "the whole of it"
        assert b"echod_unsent_bytes" in said


def test_members_of_the_group_can_read_and_other_users_cannot(daemon):
    assert os.stat(unix(daemon)).st_gid == 4242
    assert ask_as(daemon, 4001, [4242], "/api/status").startswith(b"HTTP/1.1 200")
    assert ask_as(daemon, 4242, [], "/api/status").startswith(b"HTTP/1.1 200"), "as the primary group"
    assert ask_as(daemon, 4001, [4242], "/api/reload", "POST").startswith(b"HTTP/1.1 403")
    assert ask_as(daemon, 4001, [4242], "/api/console/x").startswith(b"HTTP/1.1 403")
    refused = ask_as(daemon, 4001, [4243], "/api/status")
    assert refused.startswith(b"HTTP/1.1 403")
    assert b"run this as root or " in refused
    assert b"or join group 4242" in refused


def test_only_the_daemons_own_host_names_are_accepted_over_tcp(daemon):
    place = daemon.inet("admin", "tcp")
    for host, status in (("127.0.0.1:1", b"200"), ("echo.example", b"200"), ("rebound.example", b"421")):
        assert ask(place, host=host).split()[1] == status
    assert ask(unix(daemon), host="rebound.example").split()[1] == b"200"


def test_the_default_health_check_of_haproxy(daemon):
    with connected(daemon.inet("admin", "tcp")) as client:
        client.sendall(b"OPTIONS / HTTP/1.0\r\n\r\n")
        said = b""
        while piece := client.recv(4096):
            said += piece
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nallow: GET, HEAD, OPTIONS\r\n" in said


def test_deny_applies_over_tcp(daemon):
    with socket.socket() as client:
        client.settimeout(SECONDS)
        client.bind(("127.0.0.9", 0))
        answer = b""
        with suppress(ConnectionError):
            client.connect(daemon.inet("admin", "tcp"))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = client.recv(100)
    assert answer == b""
