"""The log lines about single connections, at the level debug, are the same on the fast path as on the plain path."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.contract.matrix import exactly, rest
from tests.daemon import SECONDS, Daemon
from tests.fastpath.clients import PLANES

TOLD: Final = """
[daemon]
plane = "PLANE"
log-level = "debug"
[services.echo]
listen = ["tcp://*:0", "tcp://127.0.0.1:0", "unix://{dir}/echo.sock"]
allow = ["127.0.0.0/8", "::1", "fe80::/10"]
"""


def callers(daemon: Daemon) -> Iterator[socket.socket]:
    """Connected clients with every form of name."""
    folder = os.fsencode(daemon.dir)
    yield socket.create_connection(daemon.inet("echo", "tcp://127"), SECONDS)
    port = daemon.inet("echo", "tcp://*")[1]
    hosts = ["127.0.0.1", "::1" if socket.has_ipv6 else "127.0.0.2", *link_local()]
    for host in hosts:
        yield socket.create_connection((host, port), SECONDS)
    for name in (None, folder + b"/client", b"\0plane-" + folder, folder + b"/\xff", folder + b"/" + b"l" * 50, b""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(SECONDS)
            if name is not None:
                client.bind(name)
            client.connect(daemon.place("echo", "unix"))
            yield client
        if name and not name.startswith(b"\0"):
            os.unlink(name)


def link_local() -> Iterator[str]:
    """A link-local address of this machine with its scope, if it has one."""
    table = Path("/proc/net/if_inet6")
    for line in table.read_text().splitlines() if table.exists() else ():
        address, _, _, scope, flags, name = line.split()
        if scope == "20" and not int(flags, 16) & 0x48:  # link-local, and neither tentative nor a duplicate
            yield f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address))}%{name}"
            return


def told(daemon: Daemon) -> list[str]:
    """The log lines about connections, without ports and names that the kernel chose."""
    lines = [line.partition(" debug ")[2] for line in daemon.stderr.text]
    lines = [line.replace(str(daemon.dir), "") for line in lines if line]
    return [re.sub(r":\d+\b|@[0-9a-f]{5}\b", ":1", line) for line in lines]


def test_connections_are_logged_alike():
    lines = {}
    for plane in PLANES:
        with Daemon(TOLD.replace("PLANE", plane)) as daemon:
            for client in callers(daemon):
                with client:
                    client.sendall(b"hello")
                    assert exactly(client, 5) == b"hello"
                    client.shutdown(socket.SHUT_WR)
                    assert rest(client) == b""
                daemon.stderr.wait_for("ended: done, 5 in, 5 out")
            assert daemon.stop() == 0
            lines[plane] = sorted(told(daemon))
    assert len(lines["off"]) >= 18
    assert lines["auto"] == lines["off"]
