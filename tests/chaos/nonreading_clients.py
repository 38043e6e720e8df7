"""Thousands of clients that send and never read, and one that reads."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from tests.chaos import probe
from tests.chaos.lab import Lab, Place, Server
from tests.chaos.report import Figure, Scenario, Subject
from tests.daemon import eventually

ECHOD, PLAIN, STOCK, *_ = Subject
MIB = 1 << 20
CLIENTS, OFFERED, NARROW = 5_000, 8 * MIB, 16_384
BUDGET, STALL, ALLOWED = 256, 30, 300  #: MiB, seconds, MiB
IDLE, ALLOWED_CPU = 3.0, 0.05  #: seconds without traffic, and the allowed share of a processor then
SERVICE = f"""
[services.echo]
listen = ["tcp://127.0.0.1:0"]
limits = {{ per-client = 10000, connections = 10000, total-buffer = "{BUDGET}MiB", stall = "{STALL}s" }}
"""
STOCK_CLIENTS = 500  #: it buffers everything it receives: ten times as many would be 5 GiB


def never_reading(lab: Lab) -> Iterator[Figure]:
    """Memory while all clients are stalled, the effect on another client, and the time until all are disconnected."""
    for server in lab.each(ECHOD, PLAIN, STOCK, services=SERVICE):
        place, clients = server.tcp["echo"], CLIENTS if server.ours else STOCK_CLIENTS
        before = server.memory()
        with ExitStack() as stack:
            stuck = [stack.enter_context(_narrow(place)) for _ in range(clients)]
            eventually(partial(_more_than, server, clients))  # each is accepted
            offered = _offer(stuck)
            grown = (server.memory() - before) / MIB
            healthy = probe.stream(place, 4.0)
            cpu = server.cpu()
            time.sleep(IDLE)
            cpu = (server.cpu() - cpu) / IDLE
            gone = server.ours and eventually(partial(_few, server), STALL + 15)
        text = f"{clients:,} clients, {offered / MIB / clients:.1f} MiB accepted from each, memory {grown:+,.0f} MiB;"
        text += f" another client's p99 {healthy.p99} ms, {cpu:.1%} of a processor while idle"
        text += f"; {'all' if gone else 'NOT all'} disconnected at `stall`" if server.ours else ""
        calm = healthy.p99 <= 50 and not healthy.lost and cpu <= ALLOWED_CPU
        kept = grown <= ALLOWED and calm and bool(gone) if server.ours else None
        values = {"clients": clients, "memory": round(grown), "healthy": vars(healthy), "cpu": cpu}
        yield Figure(server.subject, text, kept, values)


def _more_than(server: Server, number: int) -> bool:
    return server.descriptors() > number


def _few(server: Server) -> bool:
    """Whether only a few descriptors are open."""
    return server.descriptors() < 100


def _narrow(place: Place) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        client.setsockopt(socket.SOL_SOCKET, option, NARROW)
    client.settimeout(20)
    client.connect(place)
    client.setblocking(False)
    return client


def _offer(clients: list[socket.socket]) -> int:
    """Each client sends up to OFFERED bytes, in turns, until the server accepts no more; returns the accepted bytes."""
    source, left = bytes(65_536), dict.fromkeys(clients, OFFERED)
    total, moved_at = 0, time.monotonic()
    ends = moved_at + STALL * 0.8
    while left and time.monotonic() < min(moved_at + 1.0, ends):
        for client in list(left):
            try:
                sent = client.send(source[: left[client]])
            except BlockingIOError:
                continue
            except OSError:  # disconnected at `stall` while other clients are still sending
                sent = left[client]
            left[client] -= sent
            total, moved_at = total + sent, time.monotonic()
            if not left[client]:
                del left[client]
        time.sleep(0.01)
    return total


SCENARIOS = (
    Scenario(
        10,
        f"{CLIENTS:,} clients that do not read",
        f"at most {ALLOWED} MiB of memory, another client's p99 at most 50 ms, at most 5 % of a processor, "
        "all disconnected after `stall`",
        never_reading,
    ),
)
