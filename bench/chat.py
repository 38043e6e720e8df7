"""Measure a chat room: `python -m bench.chat`. One daemon runs; its members share one process on the same machine.

1. A thousand members in one room, and a hundred messages a second. `--workers 2`: only this, and over two workers.
   `--bus URL`: and over two daemons. `--machines`: and over two daemons and a Redis server, each in its own network
   namespace; it needs root.
2. A hundred members; then the same with fifty more members that do not read.

It prints the processor time per delivery (a message to one member), the time from sending to reading, the missing
deliveries, and memory. It asserts nothing, because the figures depend on the machine.
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Final

from bench.option_values import decimal_number, whole_number
from bench.signals import terminated_with_children
from bench.two_machines import inside, two_machines

TICKS: Final = os.sysconf("SC_CLK_TCK")
CONFIG: Final = """
[daemon]
workers = {workers}
[defaults.limits]
new-per-client = "0"
[services.chat]
lines-per-second = 0
room-lines-per-second = 0
listen = ["unix://{path}"]
"""
JOINED: Final = 6.0  #: seconds until two daemons have begun a room over a bus
SAMPLED: Final = 50  #: members that time every line; the others only count lines


class Member:
    """A member that reads."""

    def __init__(self, place: str, sampled: bool) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(place)
        self.socket.setblocking(False)
        self.sampled = sampled
        self.lines = 0
        self.rest = b""


class Crowd:
    """All members: they read as fast as they can and send in turn."""

    def __init__(self, places: Sequence[str], members: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.members = [Member(places[number % len(places)], number < SAMPLED) for number in range(members)]
        self.times: list[float] = []
        for one in self.members:
            self.selector.register(one.socket, selectors.EVENT_READ, one)

    def read(self, until: float) -> None:
        """Read the pending data of every member until a time (`perf_counter`)."""
        while (left := until - time.perf_counter()) > 0:
            for key, _ in self.selector.select(left):
                self._take(key.data)

    def talk(self, seconds: float, rate: int, size: int) -> int:
        """Send `rate` messages a second, each from the next member; return how many were sent."""
        begin, sent = time.perf_counter(), 0
        while (due := begin + sent / rate) < begin + seconds:
            self.read(due)
            one = self.members[sent % len(self.members)]
            text = f"at {time.perf_counter():.6f} ".encode()
            one.socket.send(text + b"x" * (size - len(text)) + b"\n")
            sent += 1
        return sent

    def close(self) -> None:
        for one in self.members:
            one.socket.close()

    def _take(self, one: Member) -> None:
        data = one.socket.recv(1 << 18)
        if not one.sampled:
            one.lines += data.count(b": at ")
            return
        now = time.perf_counter()
        *lines, one.rest = (one.rest + data).split(b"\n")
        for line in lines:
            _, found, said = line.partition(b": at ")
            if found:
                one.lines += 1
                self.times.append(now - float(said.split(b" ", 1)[0]))


@contextmanager
def daemon(workers: int, bus: str = "", machine: str = "") -> Iterator[tuple[int, str]]:
    """Run a daemon; yields its process and the path of its chat socket. `bus` is a URL that it shares with others.

    `machine` is the network namespace that it runs in.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/chat.sock"
        config = Path(folder) / "echod.toml"
        shared = f'[bus]\nurl = "{bus}"\n' if bus else ""
        config.write_text(CONFIG.replace("{path}", path).replace("{workers}", f"{workers}") + shared)
        words = [sys.executable, "-m", "echod", "--config", str(config)]
        with Popen(inside(machine, words) if machine else words, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE) as process:
            assert process.stderr is not None
            while b" ready:" not in (line := process.stderr.readline()):
                if not line:
                    raise SystemExit("bench.chat: a daemon did not start")
            try:
                yield process.pid, path
            finally:
                process.terminate()


def processes_of(pid: int) -> list[str]:
    """A daemon and its workers."""
    return [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def seconds_of(pid: int) -> float:
    """Processor time of a daemon and its workers so far, in seconds (proc(5))."""
    return sum(map(own_seconds, processes_of(pid)))


def own_seconds(pid: str) -> float:
    """Processor time of one process so far, in seconds (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_of(pid: int) -> float:
    """Resident memory of a daemon and its workers, in MiB. Pages that they share count once for each."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in processes_of(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def measure(
    what: str,
    members: int,
    deaf: int,
    seconds: float,
    rate: int,
    size: int,
    workers: int = 1,
    bus: str = "",
    machines: Sequence[str] = ("", ""),
    server: int = 0,
) -> None:
    """Run one measurement and print its figures. With a bus, the members are those of two daemons.

    `machines` are their network namespaces. `server` is the process of the bus, whose time is printed as well.
    """
    with ExitStack() as stack:
        daemons = [stack.enter_context(daemon(workers, bus, one)) for one in machines[: 2 if bus else 1]]
        pids, places = zip(*daemons, strict=True)
        time.sleep(JOINED if bus else 0)
        empty = sum(map(memory_of, pids))
        mute = [Member(places[0], False) for _ in range(deaf)]
        crowd = Crowd(places, members)
        crowd.read(time.perf_counter() + 3)
        every = [one for pid in pids for one in processes_of(pid)] + [str(server)] * bool(server)
        each = [own_seconds(one) for one in every]
        before, joined = sum(map(seconds_of, pids)), sum(map(memory_of, pids))
        sent = crowd.talk(seconds, rate, size)
        used = sum(map(seconds_of, pids)) - before
        each = [own_seconds(one) - old for one, old in zip(every, each, strict=True)]
        crowd.read(time.perf_counter() + 2)
        wanted = sent * (members - 1)
        came = sum(one.lines for one in crowd.members)
        times = sorted(crowd.times)
        print(what)
        print(f"  {sent} messages of {size} bytes, {sent / seconds:.0f} a second; {came} of {wanted} deliveries")
        print(f"  processor time per delivery: {used / wanted * 1e6:.2f} µs, {used / seconds:.0%} of one processor")
        if bus:
            shares = [f"{one / seconds:.1%}" for one in each]
            others = f"; the server of the bus {shares.pop()}" if server else ""
            print(f"  processor time of each process of the daemons: {', '.join(shares)}{others}")
        print(f"  from sending to reading: median {times[len(times) // 2] * 1e3:.1f} ms,", end=" ")
        print(f"p99 {times[len(times) * 99 // 100] * 1e3:.1f} ms, longest {times[-1] * 1e3:.1f} ms")
        end = sum(map(memory_of, pids))
        print(f"  memory: {empty:.1f} MiB, {joined:.1f} after all joined, {end:.1f} at the end", flush=True)
        crowd.close()
        for one in mute:
            one.socket.close()


def main(words: Sequence[str] | None = None) -> None:
    """Run every measurement."""
    arguments = argparse.ArgumentParser(prog="python -m bench.chat", description="Measure a chat room.")
    arguments.add_argument("--seconds", type=decimal_number(0.1, 3600), default=10.0, help="length of each run (10)")
    arguments.add_argument(
        "--workers", type=whole_number(), default=1, help="measure the first room with this many workers too"
    )
    arguments.add_argument("--bus", default="", metavar="URL", help="measure the first room over two daemons too")
    arguments.add_argument(
        "--machines", action="store_true", help="measure it over two daemons and Redis in network namespaces too"
    )
    options = arguments.parse_args(words)
    seconds = options.seconds
    measure("1,000 members", 1000, 0, seconds, 100, 80)
    if options.workers > 1:
        measure(f"1,000 members over {options.workers} workers", 1000, 0, seconds, 100, 80, options.workers)
    if options.bus:
        what = f"1,000 members over two daemons of {options.workers} each"
        measure(what, 1000, 0, seconds, 100, 80, options.workers, options.bus)
    if options.machines:
        what = f"1,000 members over two machines of {options.workers} each, and a third one with Redis"
        with two_machines() as (machines, url, server):
            measure(what, 1000, 0, seconds, 100, 80, options.workers, url, machines, server)
    if options.workers > 1 or options.bus or options.machines:
        return
    measure("100 members", 100, 0, seconds, 100, 4000)
    measure("100 members, and 50 that do not read", 100, 50, seconds, 100, 4000)


if __name__ == "__main__":
    with terminated_with_children():
        main()
