"""How the cost of a message grows with connections and flows: `python -m bench.scale --svg docs/_static/scale.svg`.

Each point is a new process of the server, under the load generator with so many connections (TCP), or so many sockets
that send datagrams in turn, 64 of them in flight (UDP). It takes about three minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Final

from bench import machine
from bench.build import build_load
from bench.curves import Curve, Panel, drawing
from bench.figures import Slice, percentile
from bench.generator import Generator, LoadFailed
from bench.option_values import decimal_number, known_names, whole_number
from bench.process import NotStarted, start
from bench.servers import SERVERS, Kit, Place, Server, configured
from bench.signals import terminated_with_children
from bench.table import align
from bench.workloads import Role, Workload

CONNECTIONS: Final = (1, 64, 1_000, 10_000, 50_000)
FLOWS: Final = (1, 64, 1_000, 10_000, 100_000)
MOST_FILES: Final = 120_000  #: descriptors of the server and of the load generator, as far as the kernel permits
PEERS: Final = ("echod", "echod-python", "c", "c-recvmmsg", "uvloop", "go", "haproxy")
SLICE: Final = 0.6  #: seconds that are measured
EACH_ONCE: Final = 20_000  #: messages a second during the warm-up: each connection or flow has carried one after it
SPARE: Final = 300  #: descriptors of each process besides its connections

COLUMNS: Final = ("µs/msg", "msg/s", "p50 µs", "p99 µs", "p99.9 µs", "bytes each")
FEW: Final = {Role.TCP: ("--connections=64",), Role.UDP: ("--depth=64", "--flows=64")}
AXES: Final = {Role.TCP: "connections", Role.UDP: "flows"}
FROM: Final = {Role.TCP: 64, Role.UDP: 1}  #: one connection costs several times as much, which would hide the rest
LEAST: Final = 1_000  #: connections from which the memory of one is measurable beside that of the process

HAPROXY: Final = """
global
  nbthread 1
  maxconn {most}
defaults
  mode tcp
  timeout connect 10s
  timeout client 60s
  timeout server 60s
listen echo
  bind {place.host}:{place.port} backlog 4096
  server c unix@{behind}
"""


def _haproxy(kit: Kit, places: Mapping[Role, Place]) -> list[str]:
    """HAProxy in TCP mode cannot echo: it forwards to the C server, and the figures are those of both processes."""
    (place,) = places.values()
    behind = f"{kit.folder}/haproxy-{place.port}.sock"
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - SPARE  # it has two descriptors for each connection
    config = kit.write(f"haproxy-{place.port}.cfg", HAPROXY.format(place=place, behind=behind, most=most))
    run = '"$0" unix "$1" & exec "$2" -q -db -f "$3"'
    return ["sh", "-c", run, str(kit.folder / "c_echo"), behind, machine.program("haproxy") or "haproxy", config]


def servers(most: int) -> list[Server]:
    """The measured servers: echod with room for `most` connections, HAProxy, and those of `bench.servers`."""
    room = ("[defaults.limits]", f"connections = {most}")
    known = {one.key: one for one in SERVERS}
    known["echod"] = replace(known["echod"], command=configured("scale", *room))
    python = configured("scale-python", "[daemon]", 'plane = "python"', *room)
    known["echod-python"] = replace(known["echod-python"], command=python)
    known["haproxy"] = Server(
        "haproxy",
        "HAProxy + C",
        frozenset({Role.TCP}),
        _haproxy,
        "c_echo.c",
        ("haproxy",),
        install="apt install haproxy | dnf install haproxy",
        ready=False,
    )
    return [known[key] for key in PEERS]


@dataclass(frozen=True)
class Point:
    """One server with one number of connections or flows."""

    role: Role
    count: int
    server: str
    slice: Slice
    memory: float  #: bytes of user memory that the server has gained, per connection or flow


Value = Callable[[Point], float]


class Scale:
    """One run. `points` has what was measured until then, `remarks` what could not be."""

    def __init__(self, generator: Generator, kit: Kit, core: int, seconds: float) -> None:
        self.points: list[Point] = []
        self.remarks: list[str] = []
        self._generator, self._kit, self._core, self._seconds = generator, kit, core, seconds

    def length(self, count: int) -> float:
        """About the seconds that a point takes: start, connections, warm-up, and the slice."""
        return 1.0 + self._seconds * 4 / 3 + count / EACH_ONCE * 2

    def measure(self, server: Server, role: Role, count: int) -> None:
        """Measure one point, with a new process."""
        words = (
            ("stream", f"--connections={count}") if role is Role.TCP else ("datagram", "--depth=64", f"--flows={count}")
        )
        workload = Workload(f"{role.name}-{count}", "", role, words, count)
        roles = frozenset({role, Role.TCP}) if server.together else frozenset({role})  # TCP: to see that it is ready
        try:
            running = start(server, self._kit, roles, self._core)
        except NotStarted as failure:
            self.remarks.append(str(failure))
            return
        try:
            self._generator.slice(replace(workload, load=(words[0], *FEW[role])), running, 0.05, 0.05)
            before = running.memory()
            used: list[int] = []
            warm = self._seconds / 3 + count / EACH_ONCE
            measured = self._generator.slice(
                workload, running, self._seconds, warm, lambda: used.append(running.memory())
            )
            self.points.append(Point(role, count, server.title, measured, (used[0] - before) / count))
        except LoadFailed as failure:
            self.remarks.append(f"{server.title} with {count:,}: left out: {failure}")
        finally:
            running.stop()

    def rows(self, role: Role) -> Iterator[Sequence[str]]:
        """The table of a transport."""
        yield ["connections" if role is Role.TCP else "flows", "server", *COLUMNS]
        for point in sorted((one for one in self.points if one.role is role), key=lambda one: one.count):
            one, share = point.slice, (0.5, 0.99, 0.999)
            times = [f"{percentile(one.latency, part):,.0f}" for part in share]
            memory = f"{point.memory:,.0f}" if point.count >= LEAST else "–"
            yield [f"{point.count:,}", point.server, f"{one.cpu_us:.2f}", f"{one.rate:,.0f}", *times, memory]

    def panels(self) -> list[Panel]:
        """The curves of the chart."""
        cost = {Role.TCP: "Processor time of a message over TCP", Role.UDP: "Processor time of a datagram"}
        made = [
            Panel(title, "µs", AXES[role], [*self._curves(role, lambda point: point.slice.cpu_us, FROM[role])])
            for role, title in cost.items()
        ]
        title = "User memory of a connection"
        held = [*self._curves(Role.TCP, lambda point: point.memory / 1024, LEAST)]
        return [*made, Panel(title, "KiB", AXES[Role.TCP], held)]

    def _curves(self, role: Role, value: Value, least: int = 1) -> Iterator[Curve]:
        found: dict[str, list[tuple[int, float]]] = {}
        for point in self.points:
            if point.role is role and point.count >= least:
                found.setdefault(point.server, []).append((point.count, value(point)))
        yield from (Curve(name, sorted(points)) for name, points in found.items())


def raise_limit() -> int:
    """Raise the limit of open files as far as possible; returns it."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES))
    except (OSError, ValueError):  # not root
        return machine.raise_nofile()
    return MOST_FILES


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, and draw the curves."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the curves")
    parser.add_argument(
        "--peers", type=known_names(PEERS), default=PEERS, help=f"servers, separated by commas ({','.join(PEERS)})"
    )
    parser.add_argument(
        "--most", type=whole_number(), default=max(FLOWS), help=f"most connections and flows ({max(FLOWS):,})"
    )
    parser.add_argument("--seconds", type=decimal_number(0.05, 60), default=SLICE, help=f"length of a slice ({SLICE})")
    options = parser.parse_args(arguments)
    nofile = raise_limit()
    most = {Role.TCP: min(options.most, nofile - SPARE), Role.UDP: options.most}  # a flow needs no descriptor
    cores = machine.choose_cores()
    asked = [one for one in servers(most[Role.TCP]) if one.key in options.peers]
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        kit = Kit(Path(name), sys.executable, (sys.executable, "-P", "-m", "echod"))
        scale = Scale(Generator(build_load(Path(name)), cores.load), kit, cores.server, options.seconds)
        scale.remarks += [f"{one.title} is not installed: {hint}" for one in asked if (hint := one.missing())]
        if most[Role.TCP] < min(options.most, max(CONNECTIONS)):
            limited = f"{most[Role.TCP]:,} connections, not more: a process may have {nofile:,} open files"
            scale.remarks.append(f"{limited}, and a server needs one for each connection")
        steps = [
            (server, role, count)
            for role, counts in ((Role.TCP, CONNECTIONS), (Role.UDP, FLOWS))
            for count in sorted({min(count, most[role]) for count in counts})
            for server in asked
            if role in server.roles and not server.missing()
        ]
        began, left = monotonic(), sum(scale.length(step[2]) for step in steps)
        for server, role, count in steps:
            print(f"{count:,} {AXES[role]}: {server.title}, about {left:.0f} s left", file=sys.stderr, flush=True)
            if server.key == "haproxy" and 2 * (count + SPARE) > most[Role.TCP]:
                scale.remarks.append(f"{server.title} needs two descriptors for each of {count:,} connections")
            else:
                scale.measure(server, role, count)
            left -= scale.length(count)
        scale.remarks.append(f"measured in {monotonic() - began:.0f} s")
    described = machine.describe()
    when = datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")[:16]
    caption = " · ".join([when, described["kernel"], described["python"], described["processor"]])
    print(f"{caption} · load {os.getloadavg()[0]:.1f}")
    for role in AXES:
        if len(rows := [*scale.rows(role)]) > 1:
            print("", *align(rows, left=2), sep="\n")
    print("", *scale.remarks, sep="\n")
    if options.svg:
        options.svg.write_text(drawing(scale.panels(), caption), "utf-8")
    return 0 if scale.points else 1


if __name__ == "__main__":
    with terminated_with_children():
        raise SystemExit(main())
