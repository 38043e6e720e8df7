"""How many machines a load needs, and which limit comes first: `python -m bench.capacity`.

Without options it prints a table from a thousand clients a second to a million, and for every person on the Internet.
`--check` compares the model with one, two and three daemons of this machine.

The model is arithmetic over measured costs (docs/PERFORMANCE.md) and the limits of a kernel with its defaults, and a
simulation of the queue at each processor: arrivals at random (Poisson), a constant time for each client, and a
balancer that gives each client to the next server in turn.
"""

from __future__ import annotations

import argparse
import heapq
import math
import os
import random
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from bench.option_values import decimal_number, whole_number
from echod.testing import Daemon

BUSY: Final = 0.6  #: the share of a limit that is planned for: a server that fails leaves its load to the others
FRAME: Final = 66 + 14 + 24  #: bytes of a small packet besides its payload: Ethernet, IPv4, TCP with timestamps
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Costs:
    """The costs of a client, in microseconds of one processor, and in bytes. Measured on 2026-11-30, an AMD EPYC."""

    connect: float = 33.0  #: connect, echo 64 bytes, close
    message: float = 5.4  #: a further echo of 64 bytes
    connection: int = 125 + 2_400  #: memory of an open connection: the daemon's, and the kernel's (SUnreclaim)


TLS: Final = Costs(connect=33.0 + 531, message=7.4, connection=14_700 + 2_400)


@dataclass(frozen=True)
class Load:
    """Clients: how many come in a second, what each sends, and how long it stays."""

    clients: float  #: a second
    messages: int = 10  #: of each client
    size: int = 64  #: bytes of a message
    seconds: float = 10.0  #: that a client stays


@dataclass(frozen=True)
class Machine:
    """A server, and the limits of its kernel."""

    processors: int = 8
    memory: float = 16e9  #: bytes
    descriptors: int = 1_000_000
    link: float = 10e9  #: bits a second
    conntrack: int = 262_144  #: nf_conntrack_max; 0: no connection tracking
    ports: int = 28_232  #: ip_local_port_range, of a balancer towards each server; 0: tcp_tw_reuse, or no balancer


def shares(load: Load, costs: Costs, machine: Machine) -> dict[str, float]:
    """The share of each limit that this load takes on one machine: 1.0 is all of it."""
    opened = load.clients * load.seconds
    seconds = load.clients * (costs.connect + (load.messages - 1) * costs.message) / 1e6
    packets = load.clients * (6 + 2 * load.messages)  # the handshake, the two ends, and each message both ways
    bits = 8 * (packets / 2 * FRAME + load.clients * load.messages * load.size)  # in each direction
    found = {
        "processors": seconds / machine.processors,
        "memory": opened * costs.connection / machine.memory,
        "descriptors": opened / machine.descriptors,
        "link": bits / machine.link,
    }
    if machine.conntrack:
        found["conntrack"] = (opened + load.clients * 120) / machine.conntrack  # TIME_WAIT is kept for 120 s
    if machine.ports:
        found["ports"] = (opened + load.clients * 60) / machine.ports
    return found


def needed(load: Load, costs: Costs, machine: Machine) -> tuple[int, str]:
    """The number of machines, and the limit that decides it."""
    name, share = max(shares(load, costs, machine).items(), key=lambda each: each[1])
    return max(1, math.ceil(share / BUSY)), name


def simulate(clients: float, processors: int, cost: float, *, count: int = 200_000, seed: int = 1) -> dict[str, float]:
    """Clients of `cost` seconds that come at random, in turn to each processor: waiting times in seconds.

    Returns the share that a processor is busy, and the median, 99th and 99.9th percentile of the waits.
    """
    chance = random.Random(seed)
    free = [0.0] * processors
    now = 0.0
    waits = []
    for number in range(count):
        now += chance.expovariate(clients)
        which = number % processors
        begins = max(now, free[which])
        waits.append(begins - now)
        free[which] = begins + cost
    largest = heapq.nlargest(max(1, count // 100), waits)
    middle = sorted(waits)[count // 2]
    return {
        "busy": count * cost / processors / now,
        "p50": middle,
        "p99": largest[-1],
        "p99.9": largest[max(0, count // 1000 - 1)],
    }


CASES: Final = (
    ("1,000 clients a second", 1e3),
    ("10,000 clients a second", 1e4),
    ("100,000 clients a second", 1e5),
    ("1,000,000 clients a second", 1e6),
    ("5.5 billion people, each once an hour", 5.5e9 / 3600),
    ("5.5 billion people within one minute", 5.5e9 / 60),
)


def table(machine: Machine) -> Iterator[str]:
    """The lines of the table."""
    tuned = replace(machine, conntrack=0, ports=0)
    columns = (
        "Load",
        "Machines, kernel defaults",
        "no conntrack, reused ports",
        "with TLS",
        "waits of p50, p99, p99.9, µs",
    )
    yield f"| {' | '.join(columns)} |"
    yield "| --- | --- | --- | --- | --- |"
    for name, clients in CASES:
        load = Load(clients)
        plain, tls = Costs(), TLS
        cells = []
        for costs, each in ((plain, machine), (plain, tuned), (tls, tuned)):
            count, limit = needed(load, costs, each)
            cells.append(f"{count:,} ({limit})")
        count, _ = needed(load, plain, tuned)
        cost = (plain.connect + (load.messages - 1) * plain.message) / 1e6
        waits = simulate(clients / count, machine.processors, cost)
        cells.append(", ".join(f"{waits[key] * 1e6:.0f}" for key in ("p50", "p99", "p99.9")))
        yield f"| {name} | {' | '.join(cells)} |"


def check(rate: float, seconds: float) -> Iterator[str]:
    """Compare the processor time of one, two and three daemons with what the first one predicts."""
    yield "| Daemons | Clients a second | Predicted busy, each | Measured | Clients, each |"
    yield "| --- | --- | --- | --- | --- |"
    cost = 0.0
    for count in (1, 2, 3):
        with ExitStack() as stack:
            daemons = [stack.enter_context(Daemon("echo=tcp://127.0.0.1:0", record=None)) for _ in range(count)]
            before = [_seconds(daemon.pid) for daemon in daemons]
            began = time.monotonic()
            visits = _visit([daemon.address for daemon in daemons], rate, seconds)
            lasted = time.monotonic() - began
            used = [_seconds(daemon.pid) - first for daemon, first in zip(daemons, before, strict=True)]
        if count == 1:
            cost = used[0] / visits[0]
        predicted = visits[0] / lasted * cost
        measured = ", ".join(f"{share / lasted:.1%}" for share in used)
        each = ", ".join(map(str, visits))
        yield f"| {count} | {sum(visits) / lasted:,.0f} | {predicted:.1%} | {measured} | {each} |"


def _seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _visit(places: Sequence[tuple[str, int]], rate: float, seconds: float) -> list[int]:
    """Clients that come at random, in turn to each address: how many each address got."""
    chance = random.Random(1)
    visits = [0] * len(places)
    due = began = time.monotonic()
    while (due := due + chance.expovariate(rate)) < began + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        turn = sum(visits) % len(places)
        with socket.create_connection(places[turn], 5) as client:
            client.sendall(b"x" * 64)
            received = 0
            while received < 64 and (piece := client.recv(64)):
                received += len(piece)
        visits[turn] += 1
    return visits


def main(words: Sequence[str] | None = None) -> int:
    """Print the table, or the check."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.capacity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processors", type=whole_number(), default=8, help="processors of each machine (8)")
    parser.add_argument("--check", action="store_true", help="compare with daemons on this machine")
    parser.add_argument(
        "--rate", type=decimal_number(1, 1e6, "rate"), default=1000, help="clients a second of the check (1000)"
    )
    parser.add_argument(
        "--seconds",
        type=decimal_number(0.1, 3600),
        default=5,
        help="length of the check, for each number of daemons (5)",
    )
    options = parser.parse_args(words)
    lines = check(options.rate, options.seconds) if options.check else table(Machine(processors=options.processors))
    for line in lines:
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
