"""A restart at once on the same port: earlier connections and their TIME_WAIT do not prevent it."""

import socket
from functools import partial
from pathlib import Path

from tests.contract.matrix import exactly, rest
from tests.daemon import SECONDS, Daemon, eventually, free_port

TIME_WAIT = "06"


def states(port: int) -> list[str]:
    """The states of the kernel's TCP sockets on a local port; proc(5)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[3] for row in rows if int(row[1].rpartition(":")[2], 16) == port]


def waits(port: int) -> bool:
    """Whether the kernel still has an earlier connection."""
    return TIME_WAIT in states(port)


def test_earlier_connections_do_not_keep_the_port():
    """One that the daemon closed, which is in TIME_WAIT on its side, and one that the stop itself closed."""
    port, other = free_port(), free_port()
    listen = [f"ack=tcp://127.0.0.1:{port}", f"echo=tcp://127.0.0.1:{other}", f"echo=udp://127.0.0.1:{port}"]
    with Daemon(listen=listen) as daemon:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
            client.sendall(b"here you are")
            assert rest(client) == b"received"
        with socket.create_connection(("127.0.0.1", other), SECONDS) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
            daemon.process.terminate()
            assert client.recv(1) == b""
        assert daemon.wait() == 0
    for one in (port, other):  # a reading may miss a row, while others of this machine come and go
        assert eventually(partial(waits, one))
    with Daemon(listen=listen), socket.create_connection(("127.0.0.1", port), SECONDS) as client:
        client.sendall(b"and again")
        assert rest(client) == b"received"


def test_a_start_after_a_crash_replaces_port_and_path():
    """Killed with open connections and a bound Unix socket: the next start replaces both."""
    port = free_port()
    with Daemon(listen=[f"echo=tcp://127.0.0.1:{port}", "echo=unix://{dir}/echo.sock"]) as crashed:
        path = crashed.place("echo", "unix")
        clients = [socket.create_connection(("127.0.0.1", port), SECONDS) for _ in range(3)]
        crashed.process.kill()
        crashed.wait()
        with Daemon(listen=[f"echo=tcp://127.0.0.1:{port}", f"echo=unix://{path}"]) as daemon:
            with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
                client.sendall(b"hello")
                assert exactly(client, 5) == b"hello"
            assert daemon.stop() == 0
        for client in clients:
            client.close()
