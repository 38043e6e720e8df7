"""One run of the benchmark: from the command line to the printed report and its files."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

from bench import machine
from bench.build import NotBuilt, build_load, has_openssl
from bench.chart import chart
from bench.figures import Results, summary
from bench.generator import Generator
from bench.options import Asked, parse
from bench.rounds import Bench, Plan
from bench.servers import SERVERS, Kit, Server
from bench.table import judge, report
from bench.targets import PLAIN, PYTHON
from bench.workloads import Role

BUSY: Final = 0.7
"""Load average before the run above which rates and latencies include other processes' work."""

TITLES: Final = {server.key: server.title for server in SERVERS}


class Progress:
    """The progress line: rewritten in place on a terminal; elsewhere one line per workload."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = ""

    def __call__(self, line: str) -> None:
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{line}")
        elif line.partition(":")[0] != self._last:
            self._last = line.partition(":")[0]
            sys.stderr.write(f"{self._last}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Clear the line."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _present(asked: Asked) -> tuple[list[Server], list[str]]:
    """The servers that can take part, and one line for each that cannot."""
    lacking = {server.key: hint for server in asked.servers if (hint := server.missing())}
    lines = [f"{TITLES[key]} is not installed: {hint}" for key, hint in lacking.items()]
    return [server for server in asked.servers if server.key not in lacking], lines


def without_tls(asked: Asked) -> Asked:
    """The same request without the rows of TLS: the load generator is compiled without OpenSSL."""
    return replace(
        asked,
        workloads=tuple(one for one in asked.workloads if one.role is not Role.TLS),
        idle=tuple(row for row in asked.idle if row.role is not Role.TLS),
    )


def _versions(kit: Kit, servers: Sequence[Server]) -> dict[str, str]:
    """The versions of the servers that take part, as they print them."""
    keys = {server.key for server in servers}
    asked = {"cc": [machine.program("cc", "gcc", "clang") or "cc", "--version"]}
    if keys & {"echod", "echod-python", "echod-off"}:
        asked["echod"] = [*kit.echod, "--version"]
    if "go" in keys:
        asked["go"] = [machine.program("go") or "go", "version"]
    if "node" in keys:
        asked["node"] = [machine.program("node", "nodejs") or "node", "--version"]
    said = {name: machine.first_line(command).removeprefix(f"{name} ") for name, command in asked.items()}
    said |= {name: version for name in ("twisted", "uvloop") if (version := machine.version_of(name))}
    return {name: version for name, version in said.items() if version}


def _document(header: dict[str, Any], plan: Plan, results: Results, subject: str) -> dict[str, Any]:
    """The document of --json."""
    workloads: dict[str, Any] = {}
    for key, rows in results.slices.items():
        workloads[key] = {}
        for peer, series in rows.items():
            names = ("cpu_us", "rate", "load_share", "messages", "lost", "verified")
            slices = {number: {name: getattr(one, name) for name in names} for number, one in series.items()}
            workloads[key][peer] = {**asdict(summary(series)), "slices": slices}
    return {
        "header": header,
        "plan": asdict(plan),
        "subject": subject,
        "workloads": workloads,
        "memory": {
            key: {peer: {**asdict(rest), "per_connection": rest.per_connection} for peer, rest in rests.items()}
            for key, rests in results.rests.items()
        },
        "targets": [asdict(each) for one in dict.fromkeys([subject, PLAIN, PYTHON]) for each in judge(results, one)],
        "remarks": results.remarks,
    }


def _measure(asked: Asked, plan: Plan, bench: Bench, servers: Sequence[Server]) -> int:
    """Run everything that was requested. An interrupt ends it early and keeps the results so far."""
    try:
        for workload in asked.workloads:
            bench.load(workload, servers)
        for row in asked.idle:
            bench.rest(row, servers)
    except KeyboardInterrupt:
        bench.results.remarks.append("interrupted: these are the results until then")
        return 130
    finally:
        bench.stop()
    return 0


def _run(asked: Asked, folder: Path) -> int:
    cores = machine.choose_cores()
    kit = Kit(folder, sys.executable, asked.echod)
    try:
        generator = Generator(build_load(folder), cores.load)
    except NotBuilt as failure:
        print(f"bench: cannot measure: {failure}", file=sys.stderr)
        return 2
    servers, notes = _present(asked)
    if not has_openssl():
        asked = without_tls(asked)
        notes.append("TLS is left out: apt install libssl-dev | dnf install openssl-devel")
    nofile = machine.raise_nofile()
    plan = replace(asked.plan, idle=machine.idle_connections(asked.plan.idle, nofile))
    if asked.idle and plan.idle < asked.plan.idle:
        notes.append(f"{plan.idle:,} idle connections, not more: the hard limit of open files is {nofile:,}")
    if (busy := os.getloadavg()[0]) > BUSY:
        notes.append(f"the machine was busy before (load {busy:.1f}): only ratios of processor time are reliable")
    if asked.quick:
        notes.append(f"quick: {plan.rounds} rounds of {plan.seconds:g} s are a hint, not figures to quote")
    header: dict[str, Any] = {"date": datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")}
    header |= machine.describe() | {"placement": str(cores), "versions": _versions(kit, servers)}
    caption = " · ".join([header["date"][:16], header["kernel"], header["python"], header["processor"]])
    print(f"{caption} · cores: {header['cores']}, {cores}")
    print(" · ".join(f"{name} {version}" for name, version in header["versions"].items()) + "\n", flush=True)
    say = Progress()
    bench = Bench(kit, generator, cores.server, plan, say)
    code = _measure(asked, plan, bench, servers)
    say.end()
    print(report(bench.results, asked.subject, TITLES, notes))
    if asked.json:
        document = _document(header, plan, bench.results, asked.subject)
        asked.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    if asked.svg:
        drawn = chart(bench.results, asked.subject, TITLES, caption)
        if drawn is None:
            print("bench: no chart: none of its workloads was measured", file=sys.stderr)
        else:
            asked.svg.write_text(drawn)
    return code or int(asked.subject in bench.results.failed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0: measured, targets met or not; 1: the subject failed; 2: usage or no compiler; 130: interrupted."""
    asked = parse(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × gets a question mark
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return _run(asked, Path(folder))
