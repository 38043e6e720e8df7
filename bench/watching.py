"""The cost of open status pages for the clients of a daemon: `python -m bench.watching`.

One daemon serves an echo. In each round 64 connections send messages of 64 bytes for a while, once with no page open
and once with a hundred, in alternating order. A page is a client of `/api/events?status=yes`, and it reads all of it.
It prints the processor time of the daemon for a message, and the ratio of each round.
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from bench.machine import choose_cores, on_core
from bench.option_values import decimal_number, whole_number
from bench.process import free_ports
from echod.testing import Daemon

CONNECTIONS: Final = 64
SIZE: Final = 64
REQUEST: Final = b"GET /api/events?status=yes HTTP/1.1\r\nHost: localhost\r\n\r\n"
CONFIG: Final = """
[admin]
listen = ["unix://{{dir}}/admin.sock", "tcp://127.0.0.1:{port}"]
[services.echo]
listen = ["tcp://127.0.0.1:0"]
"""


@contextmanager
def pages(where: tuple[str, int], count: int) -> Iterator[None]:
    """So many pages that read, from a thread of their own."""
    stopped = threading.Event()
    closed: list[socket.socket] = []
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(count):
            page = stack.enter_context(socket.create_connection(where, 10))
            page.sendall(REQUEST)
            page.recv(65_536)  # it counts as a stream now, not as one of 32 connections
            selector.register(page, selectors.EVENT_READ, page)

        def read() -> None:
            while not stopped.is_set():
                for key, _ in selector.select(0.1):
                    with suppress(ConnectionError):
                        if key.data.recv(65_536):
                            continue
                    closed.append(key.data)
                    selector.unregister(key.data)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            stopped.set()
            reader.join()
        if closed:
            raise EOFError(f"the daemon closed {len(closed)} of {count} pages")


def exchange(clients: Sequence[socket.socket], seconds: float) -> int:
    """One message in flight on each connection, for so long: the number of messages."""
    count = 0
    ends = time.monotonic() + seconds
    message = b"x" * SIZE
    while time.monotonic() < ends:
        for client in clients:
            client.sendall(message)
        for client in clients:
            missing = SIZE
            while missing:
                missing -= len(client.recv(missing))
        count += len(clients)
    return count


def used(pid: int) -> float:
    """Processor seconds of a process, from its scheduler (nanoseconds; /proc/PID/schedstat)."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each round and the median."""
    parser = argparse.ArgumentParser(prog="python -m bench.watching", description=__doc__)
    parser.add_argument("--pages", type=whole_number(), default=100, help="open pages (100)")
    parser.add_argument("--rounds", type=whole_number(), default=15, help="rounds (15)")
    parser.add_argument(
        "--seconds", type=decimal_number(0.1, 60), default=2.0, help="length of each half of a round (2)"
    )
    options = parser.parse_args(words)
    port = free_ports(1)[0]
    cores = choose_cores()
    with on_core(cores.server):
        daemon = Daemon(config=CONFIG.format(port=port), record=None)
        daemon.start()
    os.sched_setaffinity(0, {cores.load})
    ratios = []
    with ExitStack() as stack:
        stack.callback(daemon.close)
        host, echo = daemon.address_of("echo")
        clients = [stack.enter_context(socket.create_connection((host, echo), 10)) for _ in range(CONNECTIONS)]
        exchange(clients, 0.5)
        for turn in range(options.rounds):
            costs = {}
            for count in sorted((0, options.pages), reverse=bool(turn % 2)):
                with pages(("127.0.0.1", port), count):
                    time.sleep(0.2)
                    before = used(daemon.pid)
                    messages = exchange(clients, options.seconds)
                    costs[count] = (used(daemon.pid) - before) / messages * 1e6
            ratios.append(costs[options.pages] / costs[0])
            print(f"without {costs[0]:.2f} µs, with {costs[options.pages]:.2f} µs: {ratios[-1]:.3f}", flush=True)
    print(
        f"median of {options.rounds} rounds: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
