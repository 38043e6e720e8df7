"""A client that sends requests at a steady rate and measures the time of each reply."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count

from tests.daemon import SECONDS, TOP, environment

EVERY = 0.005  #: seconds between two requests: short enough to see a gap of tens of milliseconds
PATIENCE = 5.0  #: seconds


@dataclass(frozen=True)
class Times:
    """Round trips in milliseconds."""

    asked: int
    lost: int
    median: float
    p99: float
    most: float

    @classmethod
    def of(cls, trips: list[float], lost: int) -> Times:
        """Make it from seconds."""
        ordered = sorted(trips) or [0.0]

        def at(share: float) -> float:
            return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000, 2)

        return cls(len(trips) + lost, lost, at(0.5), at(0.99), round(ordered[-1] * 1000, 2))


def stream(place: tuple[str, int], seconds: float, host: str = "127.0.0.1") -> Times:
    """Measure over one TCP connection."""
    with socket.create_connection(place, SECONDS, source_address=(host, 0)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with _scheduled_first():
            return _ask(client, seconds)


def datagrams(place: tuple[str, int], seconds: float, host: str = "127.0.0.1") -> Times:
    """Measure over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((host, 0))
        client.connect(place)
        with _scheduled_first():
            return _ask(client, seconds)


@contextmanager
def _scheduled_first() -> Iterator[None]:
    """Run before other processes, as a client with its own machine would; without the privilege, compete with them.

    Otherwise a reply may wait for up to a tick of the kernel (4 ms) until this process runs.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def _ask(client: socket.socket, seconds: float) -> Times:
    datagram = client.type == socket.SOCK_DGRAM
    client.settimeout(0.5 if datagram else PATIENCE)
    trips, lost = [], 0
    ends = time.monotonic() + seconds
    for number in count():
        began = time.monotonic()
        if began >= ends:
            break
        question = b"%08d" % number
        client.send(question)
        try:
            while client.recv(8) != question:  # a late reply, or a part of one
                pass
            trips.append(time.monotonic() - began)
        except TimeoutError:
            lost += 1
            if not datagram:
                break
        time.sleep(max(0.0, EVERY - (time.monotonic() - began)))
    return Times.of(trips, lost)


class Attack:
    """A process of `sending`; `sent` is set at the end of the block."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.sent = 0


@contextmanager
def attack(*words: str | int | float) -> Iterator[Attack]:
    """Send during the block, for as long as the arguments say; the end of the block waits for it."""
    command = [sys.executable, "-m", "tests.chaos.sending", *map(str, words)]
    with subprocess.Popen(
        command, cwd=TOP, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        running = Attack(process)
        try:
            yield running
            running.sent = int(process.communicate(timeout=60)[0] or 0)
        finally:
            process.kill()
