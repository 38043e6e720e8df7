"""The command line of `python -m bench`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.option_values import decimal_number, known_names, whole_number
from bench.rounds import Plan
from bench.servers import SERVERS, Server
from bench.workloads import IDLE, WORKLOADS, Idle, Workload

FULL: Final = Plan(rounds=5, seconds=1.0, warm=0.3, idle=10_000)
QUICK: Final = Plan(rounds=3, seconds=0.3, warm=0.1, idle=10_000)


@dataclass(frozen=True)
class Asked:
    """The measurements to make, and the files to write."""

    plan: Plan
    quick: bool
    workloads: tuple[Workload, ...]
    idle: tuple[Idle, ...]
    servers: tuple[Server, ...]
    subject: str
    echod: tuple[str, ...]
    json: Path | None
    svg: Path | None


def parse(arguments: Sequence[str] | None) -> Asked:
    """Parse the command line. Raises SystemExit(2) with one line on a usage error."""
    keys = [server.key for server in SERVERS]
    rows = [*(workload.key for workload in WORKLOADS), *(row.key for row in IDLE)]
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures echod and other servers on this machine, over loopback; takes about 15 minutes.",
        epilog=f"Workloads: {', '.join(rows)}. Peers: {', '.join(keys)}.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="only workloads with targets, three short rounds, about a minute: a hint")
    add("--rounds", type=whole_number(), metavar="N", help=f"rounds of each workload ({FULL.rounds})")
    add("--seconds", type=decimal_number(0.05, 60), metavar="S", help=f"length of each measurement ({FULL.seconds:g})")
    add("--only", type=known_names(rows), metavar="WORKLOAD", help="only these workloads, separated by commas")
    add(
        "--peers", type=known_names(keys), metavar="PEER", help="only these peers, separated by commas, and the subject"
    )
    add("--idle", type=whole_number(), metavar="N", help=f"connections of the memory rows, at most ({FULL.idle:,})")
    add("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    add("--svg", type=Path, metavar="FILE", help="write the bar chart to FILE")
    add("--subject", choices=keys, metavar="PEER", default="echod", help="the peer that is compared (echod)")
    add("--echod", metavar="COMMAND", help="the command that runs echod (python -m echod)")
    options = parser.parse_args(arguments)
    peers, only, subject = options.peers, options.only, options.subject
    given = {name: getattr(options, name) for name in ("rounds", "seconds", "idle") if getattr(options, name)}
    quick = options.quick
    return Asked(
        plan=replace(QUICK if quick else FULL, **given),
        quick=quick,
        workloads=tuple(each for each in WORKLOADS if (each.key in only if only else each.quick or not quick)),
        idle=tuple(row for row in IDLE if not only or row.key in only),
        servers=tuple(
            each for each in SERVERS if each.key == subject or (each.key in peers if peers else each.quick or not quick)
        ),
        subject=subject,
        echod=tuple(shlex.split(options.echod)) if options.echod else (sys.executable, "-m", "echod"),
        json=options.json,
        svg=options.svg,
    )
