"""Two machines and a Redis server, as network namespaces that are joined by a bridge. It needs root and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

NETWORK: Final = "198.18.0"  #: for benchmarks of networks (RFC 2544 C.2.2)
PORT: Final = 6379
STARTED: Final = 10.0  #: seconds until the server must accept connections


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True)


def inside(name: str, words: Sequence[str]) -> list[str]:
    """The command that runs another one in a namespace."""
    return ["ip", "netns", "exec", name, *words]


@contextmanager
def two_machines() -> Iterator[tuple[list[str], str, int]]:
    """Yields the namespaces of the two machines, the URL of the server, and its process. It removes all at the end."""
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if os.geteuid() or server is None or shutil.which("ip") is None:
        raise SystemExit("bench.chat: --machines needs root, iproute2, and redis-server or valkey-server")
    names = [f"echod-bench-{os.getpid()}-{number}" for number in range(4)]
    switch = names[0]
    with ExitStack() as stack:
        for name in names:
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "delete", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        for number, name in enumerate(names[1:], 1):
            port = f"port{number}"
            _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
            _ip("-n", switch, "link", "set", port, "master", "br0", "up")
            _ip("-n", name, "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
        host = f"{NETWORK}.3"
        words = (server, "--bind", host, "--port", str(PORT), "--save", "", "--protected-mode", "no")
        process = subprocess.Popen(inside(names[3], words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        probe = f"import socket; socket.create_connection(({host!r}, {PORT}), 1)"
        until = time.monotonic() + STARTED
        while subprocess.run(
            inside(names[1], ("python3", "-c", probe)), stderr=subprocess.DEVNULL, check=False
        ).returncode:
            if time.monotonic() > until:
                raise SystemExit("bench.chat: the Redis server does not accept connections")
            time.sleep(0.2)
        yield names[1:3], f"redis://{host}:{PORT}/0", process.pid
