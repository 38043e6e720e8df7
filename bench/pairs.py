"""Two checkouts of echod, compared in pairs of short slices: `python -m bench.pairs BEFORE`.

The daemon of each checkout stays up. In each pair both run the same workload once, and the order alternates. A busy
machine slows both halves of a pair, so the median of the ratios is reliable where single figures are not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles

from bench import machine
from bench.build import build_load
from bench.generator import Generator
from bench.option_values import decimal_number, known_names, whole_number
from bench.process import Running, start
from bench.servers import SERVERS, Kit, Server
from bench.signals import terminated_with_children
from bench.workloads import WORKLOADS, Role, Workload

HERE = Path(__file__).resolve().parent.parent
USUAL = ("tcp-64", "connect", "udp-64", "udp-1")  #: the workloads, unless others are chosen


@contextmanager
def _running(server: Server, checkout: Path, folder: Path, core: int) -> Iterator[Running]:
    """The daemon of one checkout, or another server."""
    # -P: the current folder must not come before the checkout.
    command = ("env", f"PYTHONPATH={checkout}", sys.executable, "-P", "-m", "echod")
    running = start(server, Kit(folder, sys.executable, command), server.roles, core)
    try:
        yield running
    finally:
        running.stop()


def _compare(
    generator: Generator, workload: Workload, first: Running, second: Running, pairs: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Microseconds of processor time per message of both, pair by pair."""
    figures: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs):
        sides = [(figures[0], first), (figures[1], second)]
        for series, running in sides if number % 2 else reversed(sides):
            series.append(generator.slice(workload, running, seconds, seconds / 2).cpu_us)
    return figures


def checkout(text: str) -> Path:
    """The folder of a checkout. Raises ArgumentTypeError if it has no echod, because this one would run instead."""
    if not (folder := Path(text).resolve()).joinpath("echod", "__main__.py").is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not the folder of a checkout")
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each workload: both medians, and the median ratio with its quartiles."""
    by_key = {server.key: server for server in SERVERS}
    rows = [workload.key for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="python -m bench.pairs", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "before", type=checkout, metavar="BEFORE", help="the folder of the other checkout, or of the same one"
    )
    parser.add_argument(
        "--only", type=known_names(rows), default=USUAL, help=f"workloads, separated by commas ({','.join(USUAL)})"
    )
    parser.add_argument(
        "--peer", choices=("echod", "echod-python", "echod-off"), default="echod-off", help="the variant (echod-off)"
    )
    parser.add_argument(
        "--against", choices=by_key, metavar="PEER", help="compare this checkout with this peer instead of BEFORE"
    )
    parser.add_argument("--pairs", type=whole_number(2), default=15, help="pairs of slices of each workload (15)")
    parser.add_argument("--seconds", type=decimal_number(0.05, 60), default=0.15, help="length of a slice (0.15)")
    options = parser.parse_args(arguments)
    workloads = [each for each in WORKLOADS if each.key in options.only]
    cores = machine.choose_cores()
    machine.raise_nofile()
    # Only the roles that are measured, and TCP to see that it is ready: an earlier checkout may not know all of them.
    roles = frozenset({Role.TCP, *(workload.role for workload in workloads)})
    subject = replace(by_key[options.peer], roles=roles)
    other = by_key[options.against] if options.against else subject
    with tempfile.TemporaryDirectory(prefix="pairs-") as name, ExitStack() as stack:
        generator = Generator(build_load(Path(name)), cores.load)
        after = stack.enter_context(_running(subject, HERE, Path(name), cores.server))
        for workload in workloads:
            one = replace(other, roles=roles if other.together else frozenset({workload.role}))
            with _running(one, options.before, Path(name), cores.server) as before:
                old, new = _compare(generator, workload, before, after, options.pairs, options.seconds)
            ratios = [mine / theirs for mine, theirs in zip(new, old, strict=True)]
            low, _, high = quantiles(ratios, n=4)
            print(
                f"{workload.key:14} {median(old):8.2f} → {median(new):8.2f} µs"
                f"   × {median(ratios):.3f} ({low:.3f}–{high:.3f}), {options.pairs} pairs",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    with terminated_with_children():
        raise SystemExit(main())
