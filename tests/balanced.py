"""A balancer of examples/balancers in a private network, and clients that visit it without a pause."""

from __future__ import annotations

import operator
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.chaos.network import Network
from tests.daemon import SECONDS, TOP, environment, eventually
from tests.system_wide.others import tool

EXAMPLES: Final = TOP / "examples/balancers"
BALANCER: Final = "192.0.2.10"
SERVERS: Final = ("192.0.2.11", "192.0.2.12", "192.0.2.13")
ECHO: Final = (BALANCER, 7007)
WHOAMI: Final = (BALANCER, 7008)
READY: Final = 9007
VISITORS: Final = 8


class Visits:
    """Clients that connect, send, and read the reply to its end, each from its own address, until they are stopped.

    `pause` are the seconds between two visits of one client: other processes need time.
    """

    def __init__(self, network: Network, pause: float = 0.0) -> None:
        with network.inside():  # as the comment of haproxy.cfg advises
            Path("/proc/sys/net/ipv4/tcp_tw_reuse").write_text("1")
            Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("1024 65535")
            reserved = f"{ECHO[1]},{WHOAMI[1]},{READY}"  # a client must not get the port of a server that restarts
            Path("/proc/sys/net/ipv4/ip_local_reserved_ports").write_text(reserved)
        self._pause = pause
        self._turns = [0] * VISITORS
        self.results: Counter[str] = Counter()
        self._network = network
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(VISITORS)]

    def __enter__(self) -> Visits:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(SECONDS)

    def wait_for(self, more: int) -> None:
        """Wait until there were so many more visits, and each client has ended the one that it was at."""
        goal, turns = self.results.total() + more, list(self._turns)
        assert eventually(lambda: self.results.total() >= goal and all(map(operator.gt, self._turns, turns)), 300)

    def _run(self, number: int) -> None:
        with self._network.inside():
            while not self._stopped.wait(self._pause):
                turn = self._turns[number] + 1
                host = f"198.51.100.{1 + (number * 31 + turn) % 250}"
                result = visit(host)
                with self._lock:
                    self.results[result] += 1
                    self._turns[number] = turn


def visit(host: str) -> str:
    """One visit from this address: "served", or what went wrong."""
    try:
        with socket.create_connection(ECHO, SECONDS, source_address=(host, 0)) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            reply = b""
            while piece := client.recv(100):
                reply += piece
    except OSError as error:
        return type(error).__name__
    return "served" if reply == b"hello" else f"the reply {reply!r}"


@contextmanager
def balancer(network: Network, *words: str | Path, served: bool = True) -> Iterator[None]:
    """A balancer in the foreground, once a client is served, or once it accepts connections."""
    with network.inside():
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, env=environment())
    with process:
        try:
            with network.inside():
                assert eventually(
                    lambda: (
                        process.poll() is not None
                        or visit("198.51.100.1") in ("served", *([] if served else ["the reply b''"]))
                    )
                )
            assert process.poll() is None
            yield
        finally:
            process.terminate()


@contextmanager
def haproxy(network: Network, folder: Path, *, served: bool = True) -> Iterator[Path]:
    """HAProxy with haproxy.cfg; yields its administration socket."""
    admin = folder / "admin.sock"
    text = (EXAMPLES / "haproxy.cfg").read_text("utf-8").replace("/run/haproxy/admin.sock", str(admin))
    text = text.replace("timeout check 1s", f"timeout check {SECONDS:.0f}s")  # a server may be stopped for seconds
    (folder / "haproxy.cfg").write_text(text, "utf-8")
    with balancer(network, tool("haproxy"), "-f", folder / "haproxy.cfg", served=served):
        yield admin
