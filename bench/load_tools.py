"""`python -m bench.load_tools`: `echoctl bench` beside other load generators, with the same load on the same echod.

It prints three tables. The first has the highest rates of a closed loop, beside the generator in C of this benchmark.
The second has the latencies at a fixed rate, beside sockperf. The third has what each of them shows of a service that
stops for 100 ms. A single figure depends on the machine; each ratio belongs to one round, in which all tools ran.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from bench import machine
from bench.build import build_load
from bench.figures import percentile
from bench.generator import Generator
from bench.machine import on_core
from bench.option_values import decimal_number, known_names, whole_number
from bench.process import HOST, Running, free_ports, start
from bench.servers import SERVERS, Kit
from bench.signals import terminated_with_children
from bench.workloads import WORKLOADS, Role, Workload

CLOSED: Final = ("tcp-1", "tcp-64", "tcp-16k", "tcp-bulk", "unix-64", "udp-1", "udp-64", "ws-64", "tls-64", "connect")
"""The workloads of the first table, by their keys."""
DEEP: Final = Workload(
    "tcp-8x32", "TCP echo 64 B × 8, 32 in flight on each", Role.TCP, ("stream", "--connections=8"), 8
)
LOADS: Final = (*CLOSED, DEEP.key)
TABLES: Final = ("1", "2", "3", "12", "13", "23", "123")
RATES: Final = (1_000, 5_000)  #: messages a second
STALL: Final = 0.1  #: seconds
STALL_RATE: Final = 1_000
PATIENCE: Final = 60.0  #: seconds that a tool may take
COMMAND: Final = (sys.executable, "-m", "echod.client.main", "bench")
OPTIONS: Final = {"--connections": "-c", "--size": "-s", "--depth": "-d"}
"""Options of the generator in C, and the same ones of echoctl bench."""


class Result(NamedTuple):
    """The report of one tool. Latencies are in microseconds; `cost` is its processor time for each message."""

    rate: float
    p50: float
    p99: float
    p999: float
    most: float
    cost: float


def words_of(workload: Workload, running: Running) -> list[str]:
    """The command line of echoctl bench for a workload."""
    mode, *options = workload.load
    words = ["--connect"] if mode == "connect" else []
    for option in (*options, *(("--depth=32",) if workload is DEEP else ())):
        name, _, value = option.partition("=")
        words += [OPTIONS[name], value]
    insecure = ["--insecure"] if workload.role is Role.TLS else []
    return [*words, *insecure, running.places[workload.role].url]


def bench(words: Sequence[str], core: int, seconds: float, warm: float) -> Result:
    """One run of echoctl bench. Raises RuntimeError if a message failed."""
    with on_core(core):
        ended = subprocess.run(
            [*COMMAND, "--json", "-t", str(seconds), "--warm-up", str(warm), *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    if ended.returncode:
        raise RuntimeError(f"echoctl bench {' '.join(words)}: {ended.stderr.strip()}")
    return result_of(json.loads(ended.stdout))


def result_of(found: Mapping[str, Any]) -> Result:
    """The figures of a summary of echoctl bench."""
    p50, p99, p999, most = (found[f"{name}_ms"] * 1000 for name in ("p50", "p99", "p999", "max"))
    return Result(found["messages_per_second"], p50, p99, p999, most, found["generator"]["us_per_message"])


def in_c(generator: Generator, workload: Workload, running: Running, seconds: float, warm: float) -> Result:
    """One run of the generator in C."""
    if workload is DEEP:
        workload = Workload(DEEP.key, DEEP.title, DEEP.role, (*DEEP.load, "--depth=32"), DEEP.connections)
    found = generator.slice(workload, running, seconds, warm)
    p50, p99, p999, most = (percentile(found.latency, share) for share in (0.5, 0.99, 0.999, 1))
    return Result(found.rate, p50, p99, p999, most, found.load_cpu / found.messages * 1e6)


def sockperf(address: Sequence[str], rate: int, core: int, seconds: float) -> Result:
    """One run of sockperf at a fixed rate. Raises RuntimeError if it reports no latencies."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = ["sockperf", "under-load", *address, "-m", "64", "--mps", str(rate), "--reply-every", "1", "--full-rtt"]
    with on_core(core):
        ended = subprocess.run(
            [*words, "-t", str(max(1, round(seconds)))], check=False, capture_output=True, text=True, timeout=PATIENCE
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = re.sub(r"\x1b\[[0-9;]*m", "", ended.stdout)
    times = {name: float(value) for name, value in re.findall(r"percentile (\d+\.\d+) = +(\d+\.\d+)", said)}
    most = re.search(r"<MAX> observation = +(\d+\.\d+)", said)
    total = re.search(r"\[Valid Duration\] RunTime=(\d+\.\d+) sec; SentMessages=(\d+)", said)
    if not (times and most and total):
        raise RuntimeError(f"sockperf: {(said + ended.stderr).strip()[-200:]}")
    count = int(total[2])
    cost = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / count * 1e6
    return Result(count / float(total[1]), times["50.000"], times["99.000"], times["99.900"], float(most[1]), cost)


def stalled(running: Running, words: Sequence[str], core: int) -> Result:
    """A run of echoctl bench for 3 seconds, after the first of which echod is stopped for STALL."""
    with on_core(core):
        process = subprocess.Popen(
            [*COMMAND, "--json-lines", "-t", "3", *words, running.places[Role.TCP].url],
            stdout=subprocess.PIPE,
            text=True,
        )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        stop(running)
        *_, last = process.stdout
    return result_of(json.loads(last))


def stop(running: Running) -> None:
    """Stop a server for STALL seconds."""
    os.kill(running.pid, signal.SIGSTOP)
    time.sleep(STALL)
    os.kill(running.pid, signal.SIGCONT)


def stalled_in_c(generator: Generator, running: Running) -> Result:
    """The same with the generator in C, whose loop is closed."""
    [workload] = [one for one in WORKLOADS if one.key == "tcp-1"]
    timer = threading.Timer(1.5, stop, (running,))
    timer.start()
    try:
        return in_c(generator, workload, running, 3, 0.1)
    finally:
        timer.join()


@contextmanager
def echod(kit: Kit, core: int, *roles: Role) -> Iterator[Running]:
    """Run echod for these roles."""
    [server] = [one for one in SERVERS if one.key == "echod"]
    running = start(server, kit, frozenset(roles), core)
    try:
        yield running
    finally:
        running.stop()


def closed_loops(kit: Kit, generator: Generator, cores: machine.Cores, options: argparse.Namespace) -> None:
    """Print the first table."""
    print("\n| closed loop | echoctl bench, msg/s | C, msg/s | ratio | p50, µs | C | p99, µs | C | own µs/msg | C |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for workload in (*(one for one in WORKLOADS if one.key in CLOSED), DEEP):
        if options.only and workload.key not in options.only:
            continue
        ours, theirs = [], []
        with echod(kit, cores.server, Role.TCP, workload.role) as running:  # TCP shows that it is ready
            for number in range(options.rounds):
                for side in (0, 1) if number % 2 else (1, 0):
                    if side:
                        words = words_of(workload, running)
                        ours.append(bench(words, cores.load, options.seconds, options.seconds / 5))
                    else:
                        theirs.append(in_c(generator, workload, running, options.seconds, options.seconds / 5))
        ratio = median(one.rate / other.rate for one, other in zip(ours, theirs, strict=True))
        one, other = _middle(ours), _middle(theirs)
        rates = f"{one.rate:,.0f} | {other.rate:,.0f} | {ratio:.2f}"
        times = f"{one.p50:,.0f} | {other.p50:,.0f} | {one.p99:,.0f} | {other.p99:,.0f}"
        print(f"| {workload.title} | {rates} | {times} | {one.cost:.2f} | {other.cost:.2f} |", flush=True)


def fixed_rates(kit: Kit, cores: machine.Cores, options: argparse.Namespace) -> None:
    """Print the second table: both tools at a fixed rate, each with its own kind of service of one echod."""
    if machine.program("sockperf") is None:
        print("\nsockperf is left out: apt install sockperf")
        return
    print("\n| open loop | tool | msg/s | p50, µs | p99, µs | p99.9, µs | max, µs | own µs/msg |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    ports = free_ports(2)
    kinds = [f"{kind}={scheme}://{HOST}:{port}" for kind, port in zip(("echo", "sockperf"), ports, strict=True)
             for scheme in ("udp", "tcp")]  # fmt: skip
    with on_core(cores.server):
        process = subprocess.Popen(
            [*kit.echod, *(word for kind in kinds for word in ("--listen", kind))], stderr=subprocess.DEVNULL
        )
    try:
        _await(ports[0])
        for scheme in ("udp", "tcp"):
            address = ["-i", HOST, "-p", str(ports[1]), *(["--tcp"] if scheme == "tcp" else [])]
            for rate in RATES:
                words = ["-r", str(rate), f"{scheme}://{HOST}:{ports[0]}"]
                ours, theirs = [], []
                for _ in range(options.rounds):
                    ours.append(bench(words, cores.load, max(1, options.seconds), 0.2))
                    theirs.append(sockperf(address, rate, cores.load, options.seconds))
                for name, results in (("echoctl bench", ours), ("sockperf", theirs)):
                    one = _middle(results)
                    times = " | ".join(f"{value:,.0f}" for value in (one.p50, one.p99, one.p999, one.most))
                    title = f"{scheme} 64 B, {rate:,}/s"
                    print(f"| {title} | {name} | {one.rate:,.0f} | {times} | {one.cost:.1f} |", flush=True)
    finally:
        process.terminate()
        process.wait()


def stalls(kit: Kit, generator: Generator, cores: machine.Cores) -> None:
    """Print the third table."""
    print(f"\n| echod stops for {STALL * 1000:.0f} ms | msg/s | p50, ms | p99, ms | p99.9, ms | max, ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    with echod(kit, cores.server, Role.TCP) as running:
        found = {
            f"echoctl bench -r {STALL_RATE} (open loop)": stalled(running, ["-r", str(STALL_RATE)], cores.load),
            "echoctl bench (closed loop)": stalled(running, [], cores.load),
            "C (closed loop)": stalled_in_c(generator, running),
        }
    for name, one in found.items():
        times = " | ".join(f"{value / 1000:.3f}" for value in (one.p50, one.p99, one.p999, one.most))
        print(f"| {name} | {one.rate:,.0f} | {times} |", flush=True)


def _middle(results: Sequence[Result]) -> Result:
    """The median of each figure."""
    return Result(*(median(values) for values in zip(*results, strict=True)))


def _await(port: int) -> None:
    """Wait until a daemon replies."""
    words = [*COMMAND, "-q", "-n", "1", f"tcp://{HOST}:{port}"]
    until = time.monotonic() + PATIENCE
    while subprocess.run(words, check=False, capture_output=True).returncode:
        if time.monotonic() > until:
            raise RuntimeError("echod did not start")
        time.sleep(0.1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the three tables. Returns 1 if a tool failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.load_tools", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rounds", type=whole_number(), default=5, help="runs of each tool; the table has their medians (5)"
    )
    parser.add_argument("--seconds", type=decimal_number(0.05, 60), default=1.0, help="length of each run (1)")
    parser.add_argument("--only", type=known_names(LOADS), help="workloads of the first table, separated by commas")
    parser.add_argument("--tables", choices=TABLES, default="123", help="which of the three tables (123)")
    options = parser.parse_args(arguments)
    cores = machine.choose_cores()
    facts = ", ".join(f"{name} {value}" for name, value in machine.describe().items())
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {facts}; load average {load}; {cores}")
    with tempfile.TemporaryDirectory() as name:
        kit = Kit(Path(name), sys.executable, (sys.executable, "-m", "echod"))
        generator = Generator(build_load(kit.folder), cores.load)
        try:
            if "1" in options.tables:
                closed_loops(kit, generator, cores, options)
            if "2" in options.tables:
                fixed_rates(kit, cores, options)
            if "3" in options.tables:
                stalls(kit, generator, cores)
        except RuntimeError as error:
            print(f"load_tools: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    with terminated_with_children():
        sys.exit(main())
