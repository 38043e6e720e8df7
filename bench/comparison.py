"""`python -m bench.comparison`: the measured rows of README's table, for echod, xinetd, socat and irtt.

Everything runs over loopback, in less than half a minute. A program that is not installed has a dash in its column.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Final

from bench import machine
from bench.build import NotBuilt, build_load
from bench.generator import Generator
from bench.measure import cpu_seconds, tree
from bench.process import HOST, Running, free_ports, start
from bench.rounds import Bench, Plan
from bench.servers import SERVERS, TCP_ONLY, Kit, Server
from bench.signals import terminated_with_children
from bench.workloads import IDLE, WORKLOADS, Role

COLUMNS: Final = ("echod", "xinetd", "socat", "irtt")
PLAN: Final = Plan(rounds=3, seconds=0.4, warm=0.1, idle=2_000)
CONNECTIONS: Final = 100
STREAM: Final = bytes(range(251)) * 4178  #: a little more than 1 MiB, whose period no block size divides
PROBES: Final = 1000
INTERVAL: Final = "1ms"
SIZE: Final = 64  #: bytes of a datagram
PATIENCE: Final = 20.0  #: seconds that a reply may take

TITLES: Final = (
    "processor time for a message of 64 bytes (TCP, 64 connections)",
    f"processor time for a UDP round trip ({SIZE} bytes, every {INTERVAL})",
    "memory of an idle connection",
    f"processes that serve {CONNECTIONS} connections",
    f"bytes back after a half-close, of {len(STREAM):,}",
)
"""The rows, which README repeats."""

Row = dict[str, str]
"""The cells of a row, by the name of the program."""


def processes(running: Running) -> int:
    """The processes of a server that has CONNECTIONS open connections, each of which has carried one byte."""
    with ExitStack() as opened:
        for _ in range(CONNECTIONS):
            client = opened.enter_context(_connected(running))
            client.sendall(b"?")
            client.recv(1)
        return len(tree(running.pid))


def returned(running: Running) -> int:
    """How many bytes of STREAM come back to a client that shuts down sending after the last one; 0 if one is wrong."""
    with _connected(running) as client:

        def send() -> None:
            with suppress(OSError):
                client.sendall(STREAM)
                client.shutdown(socket.SHUT_WR)

        sending = Thread(target=send)  # the server may stop reading until its replies are read
        sending.start()
        received = bytearray()
        with suppress(OSError):  # a reset, or silence
            while piece := client.recv(65_536):
                received += piece
        sending.join()
    return len(received) if STREAM.startswith(received) else 0


def _connected(running: Running) -> socket.socket:
    place = running.places[Role.TCP]
    return socket.create_connection((place.host, place.port), timeout=PATIENCE)


def of_echod(kit: Kit) -> float:
    """Processor time of echod for a UDP round trip at a steady pace, in microseconds."""
    (port,) = free_ports(1)
    url = f"udp://{HOST}:{port}"
    probe = [sys.executable, "-m", "echod.client.main", "ping", "--json", "-i", INTERVAL, "-s", str(SIZE)]

    def measured(count: int) -> int:
        said = subprocess.run([*probe, "-c", str(count), url], check=False, capture_output=True, text=True)
        return int(json.loads(said.stdout)["received"]) if said.stdout else 0

    with _process([*kit.echod, "--listen", f"echo={url}"]) as pid:
        _wait(lambda: measured(1))
        return _each(pid, lambda: measured(PROBES))


def of_irtt(kit: Kit) -> float:
    """The same of irtt's server, with its own client."""
    (port,) = free_ports(1)
    found = kit.folder / "irtt.json"
    client = ["irtt", "client", "-Q", "-i", INTERVAL, "-l", str(SIZE), "-o", str(found), "-d"]

    def measured(seconds: str) -> int:
        subprocess.run([*client, seconds, f"{HOST}:{port}"], check=False, capture_output=True)
        return int(json.loads(found.read_text())["stats"]["packets_received"]) if found.exists() else 0

    with _process(["irtt", "server", "-i", "0", "-b", f"{HOST}:{port}"]) as pid:
        _wait(lambda: measured("10ms"))
        return _each(pid, lambda: measured(f"{PROBES}ms"))


def _each(pid: int, measured: Callable[[], int]) -> float:
    before = cpu_seconds(pid)
    return (cpu_seconds(pid) - before) / count * 1e6 if (count := measured()) else float("nan")


def _wait(ready: Callable[[], object]) -> None:
    until = monotonic() + PATIENCE
    while not ready() and monotonic() < until:
        sleep(0.05)


@contextmanager
def _process(command: list[str]) -> Iterator[int]:
    """A server process; its process ID."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def rows(kit: Kit, bench: Bench, servers: list[Server], core: int) -> dict[str, Row]:
    """Measure every row; titles with the cells."""
    tcp = next(one for one in WORKLOADS if one.key == "tcp-64")
    bench.load(tcp, servers)
    bench.rest(next(row for row in IDLE if row.key == "memory"), servers)
    results = bench.results
    cost: Row = {}
    for server in servers:
        if times := [one.cpu_us for one in results.slices.get(tcp.key, {}).get(server.key, {}).values()]:
            ratio = results.ratio(tcp.key, "cpu", server.key, "echod") or 0
            cost[server.key] = f"{min(times):.1f} µs" + ("" if server.key == "echod" else f", {ratio:.1f}×")
    memory = {key: f"{rest.per_connection / 1000:.1f} kB" for key, rest in results.rests.get("memory", {}).items()}
    number: Row = {}
    back: Row = {}
    for server in servers:
        running = start(server, kit, TCP_ONLY, core)
        try:
            number[server.key] = f"{processes(running)}"
            back[server.key] = "all" if (whole := returned(running)) == len(STREAM) else f"{whole:,} of {len(STREAM):,}"
        finally:
            running.stop()
    paced: Row = {"echod": f"{of_echod(kit):.0f} µs"}
    if machine.program("irtt"):
        paced["irtt"] = f"{of_irtt(kit):.0f} µs"
    return dict(zip(TITLES, (cost, paced, memory, number, back), strict=True))


def markdown(measured: dict[str, Row]) -> str:
    """The table; a dash where a program has no such service or is not installed."""
    lines = [f"| | {' | '.join(COLUMNS)} |", "| --- " * (len(COLUMNS) + 1) + "|"]
    lines += [f"| {title} | {' | '.join(row.get(name, '–') for name in COLUMNS)} |" for title, row in measured.items()]
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Print the table. Returns 0, or 2 if the load generator cannot be compiled."""
    argparse.ArgumentParser(prog="python -m bench.comparison", description=__doc__).parse_args(words)
    cores = machine.choose_cores()
    servers = [server for server in SERVERS if server.key in COLUMNS]
    for server in servers:
        if hint := server.missing():
            print(f"{server.title} is not installed: {hint}", file=sys.stderr)
    present = [server for server in servers if not server.missing()]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        kit = Kit(Path(name), sys.executable, (sys.executable, "-m", "echod"))
        try:
            generator = Generator(build_load(kit.folder), cores.load)
        except NotBuilt as failure:
            print(f"bench: cannot measure: {failure}", file=sys.stderr)
            return 2
        bench = Bench(kit, generator, cores.server, PLAN, lambda _line: None)
        try:
            measured = rows(kit, bench, present, cores.server)
        finally:
            bench.stop()
    system = machine.describe()
    print(f"{datetime.now():%Y-%m-%d %H:%M}, {system['kernel']}, {system['python']}, {system['processor']}, {cores}")
    print(f"load average {os.getloadavg()[0]:.1f}: the times include the effects of other processes\n")
    print(markdown(measured))
    for remark in bench.results.remarks:
        print(remark, file=sys.stderr)
    return 0


if __name__ == "__main__":
    with terminated_with_children():
        sys.exit(main())
