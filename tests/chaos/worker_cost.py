"""The processor time of a message with one process and with two workers: `python -m tests.chaos.worker_cost`.

Pairs of rounds alternate the order. Three comparisons, each with messages of 24 bytes over TCP:

    batch       64 messages wait for each process while it is stopped, so all rounds and numbers of clients are equal
    load        64 clients for each process: one thread sends to all of them, and then receives from all
    affinity    as load, with two workers: worker i on CPU i, against each worker on any CPU
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from bench.option_values import whole_number
from tests.daemon import SECONDS, Daemon

CONFIG: Final = """
[daemon]
workers = {workers}
[admin]
listen = ["unix://{{dir}}/admin.sock"]
[services.echo]
listen = ["tcp://127.0.0.1:0"]
"""
MESSAGE: Final = b"a message of 24 bytes .."
CLIENTS: Final = 64  #: of each process
ROUNDS: Final = 60  #: of one figure

Figure = tuple[float, float]
"""Microseconds of processor time, and context switches, for one message."""


class Side:
    """Processes that serve, and their clients."""

    def __init__(self, pids: Sequence[int], clients: Sequence[socket.socket]) -> None:
        self.pids = pids
        self.clients = clients

    def measured(self, rounds: Callable[[], object]) -> Figure:
        """The figures of ROUNDS rounds."""
        before = self._used()
        for _ in range(ROUNDS):
            rounds()
        messages = ROUNDS * len(self.clients)
        time, switches = (after - ago for after, ago in zip(self._used(), before, strict=True))
        return time / 1000 / messages, switches / messages

    def load(self) -> None:
        """Send to all clients, and receive from all."""
        for client in self.clients:
            client.send(MESSAGE)
        for client in self.clients:
            client.recv(len(MESSAGE), socket.MSG_WAITALL)

    def batch(self) -> None:
        """The same, with processes that are stopped until everything is sent."""
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)
        for client in self.clients:
            client.send(MESSAGE)
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)
        for client in self.clients:
            client.recv(len(MESSAGE), socket.MSG_WAITALL)

    def _used(self) -> tuple[int, int]:
        """Nanoseconds of processor time, and voluntary context switches."""
        time = sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in self.pids)
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in self.pids]
        switches = [int(count) for text in texts for count in re.findall(r"\nvoluntary_ctxt_switches:\s+(\d+)", text)]
        return time, sum(switches)


def connected(daemon: Daemon, stack: ExitStack, count: int) -> list[socket.socket]:
    """So many clients, each of which has been accepted."""
    clients = [stack.enter_context(socket.create_connection(daemon.inet("echo", "tcp"), SECONDS)) for _ in range(count)]
    Side([], clients).load()
    return clients


def asked(daemon: Daemon, path: str) -> Any:
    """A resource of the admin interface."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(SECONDS)
        admin.connect(f"{daemon.dir}/admin.sock")
        admin.sendall(f"GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n".encode())
        answer = b""
        while piece := admin.recv(65_536):
            answer += piece
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def of_workers(daemon: Daemon, stack: ExitStack) -> Side:
    """Two workers with CLIENTS clients each."""
    clients = connected(daemon, stack, 4 * CLIENTS)
    workers = {one["worker"]: one["pid"] for one in asked(daemon, "/api/status")["workers"]}
    owner = {one["peer"]: one["worker"] for one in asked(daemon, "/api/connections?limit=10000")}
    chosen = []
    for number in workers:
        own = [client for client in clients if owner["{}:{}".format(*client.getsockname())] == number]
        if len(own) < CLIENTS:
            sys.exit(f"worker {number} has {len(own)} clients; expected at least {CLIENTS}")
        chosen += own[:CLIENTS]
    return Side(list(workers.values()), chosen)


def compare(name: str, pairs: int, sides: Sequence[tuple[str, Callable[[], Figure]]]) -> None:
    """Measure two sides in pairs, and print their medians and the ratio of the second to the first."""
    figures: dict[str, list[Figure]] = {side: [] for side, _ in sides}
    for turn in range(pairs):
        for side, measure in sides if turn % 2 else sides[::-1]:
            figures[side].append(measure())
    (first, of_first), (second, of_second) = figures.items()
    low, middle, high = quantiles([b[0] / a[0] for a, b in zip(of_first, of_second, strict=True)], n=4)
    print(
        f"{name:9} {first}: {_shown(of_first)}; {second}: {_shown(of_second)}; {middle:.2f}× ({low:.2f} to {high:.2f})",
        flush=True,
    )


def _shown(figures: Iterable[Figure]) -> str:
    times, switches = zip(*figures, strict=True)
    return f"{median(times):.2f} µs, {median(switches):.3f} wake-ups"


def bind(pids: Sequence[int], *, fixed: bool) -> None:
    """Bind process i to CPU i, or each to all CPUs."""
    cpus = sorted(os.sched_getaffinity(0))
    for at, pid in enumerate(pids):
        os.sched_setaffinity(pid, {cpus[at % len(cpus)]} if fixed else cpus)


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.worker_cost", description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=whole_number(2), default=15, help="pairs of rounds of each comparison (15)")
    pairs = parser.parse_args(words).pairs
    with ExitStack() as stack:
        single = stack.enter_context(Daemon(CONFIG.format(workers=1)))
        double = stack.enter_context(Daemon(CONFIG.format(workers=2)))
        one = Side([single.process.pid], connected(single, stack, CLIENTS))
        two = of_workers(double, stack)

        def bound(fixed: bool) -> Figure:
            bind(two.pids, fixed=fixed)
            return two.measured(two.load)

        for name, first, second in (("batch", one.batch, two.batch), ("load", one.load, two.load)):
            sides = ("one process", partial(one.measured, first)), ("two workers", partial(two.measured, second))
            compare(name, pairs, sides)
        compare("affinity", pairs, [("any CPU", lambda: bound(False)), ("fixed", lambda: bound(True))])
    return 0


if __name__ == "__main__":
    sys.exit(main())
