"""Millions of connections and datagrams, and the resources that they leave behind: `python -m tests.soak`.

It uses a daemon with the plane on and off, and stock Twisted. Clients echo, half-close, reset, are refused, and stop
reading. Memory, descriptors and the kernel's sockets are measured fifty times; the slope is that of the last 80 %. The
number is that of docs/PROMISES.md. Run as root, all traffic stays in a private network.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final

from bench.option_values import whole_number
from tests.chaos.lab import Lab, Server
from tests.chaos.report import BROKEN, ONE_PROCESS, Figure, Scenario, Subject, many, play
from tests.chaos.run import attempt, header
from tests.soak import objects
from tests.soak.load import Cycles, Datagrams
from tests.soak.meter import AT_THE_END, KIB, Course
from tests.soak.tls_load import TlsCycles

NUMBER: Final = 46
LOOKS: Final = 50
WARM: Final = 1_000  #: cycles before the first measurement: each way was used, and the pipes for stalled clients exist
SLOPE: Final = 1 * KIB  #: bytes per 10,000 cycles
PAGE: Final = 4 * KIB  #: bytes: the smallest visible growth; in a short run it alone would make a slope
TLS_NOISE: Final = 64 * KIB  #: bytes: OpenSSL takes objects of many sizes from the heap of the C library
IN_ALL: Final = 4 * KIB * KIB  #: bytes
SUBJECTS: Final = (*ONE_PROCESS, Subject.STOCK)
SERVICES: Final = """
[services.echo]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
deny = ["127.0.5.0/24"]
"""
TLS_SERVICES: Final = """
[services.echo]
listen = ["tcp://127.0.0.1:0", "tls://127.0.0.1:0"]
[services.echo.tls]
certificate = "self-signed"
"""
PROMISE: Final = "memory grows by at most 1 KiB per 10,000 and 4 MiB in total; no descriptor, pipe or socket is left"


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument(
        "--cycles", type=whole_number(0), default=100_000, metavar="N", help="connections (default: 100000)"
    )
    parser.add_argument(
        "--tls", type=whole_number(0), default=20_000, metavar="N", help="connections over TLS (default: 20000)"
    )
    parser.add_argument(
        "--datagrams", type=whole_number(0), default=1_000_000, metavar="N", help="datagrams (default: 1000000)"
    )
    parser.add_argument(
        "--objects",
        type=whole_number(0),
        default=5_000,
        metavar="N",
        help="connections after which Python's objects are counted (default: 5000)",
    )
    parser.add_argument(
        "--only",
        choices=[str(one) for one in SUBJECTS],
        action="append",
        metavar="SERVER",
        help="only this server; repeatable: " + " | ".join(SUBJECTS),
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    return parser.parse_args(words)


def soak(server: Server, count: int, unit: str, batch: Callable[[], int], noise: int = PAGE) -> Figure:
    """Run `batch` until the count is reached, measure at intervals, and return the figure.

    Growth of at most `noise` bytes over the last part of the run is not a slope.
    """
    course, done, looked = Course(server.pid), 0, 0.0
    while done < WARM:
        done = batch()
    course.look(done)
    lines, begin, warm = server.lines(), time.monotonic(), done
    while done < count + warm:
        done = batch()
        if done >= count * len(course.samples) / LOOKS:
            before = time.monotonic()
            course.look(done)
            looked += time.monotonic() - before
    rate = (done - warm) / max(time.monotonic() - begin - looked, 1e-6)
    course.look(done, AT_THE_END)
    first, last = course.samples[0], course.samples[-1]
    kept = (
        (course.slope <= SLOPE or course.grown_late <= noise)
        and course.grown <= IN_ALL
        and last.descriptors <= first.descriptors
        and last.pipes <= first.pipes
        and last.sockets <= first.sockets
        and last.orphans <= first.orphans
        and server.lines() == lines
    )
    text = f"{many(done - warm, unit)}, {rate:,.0f}/s; memory {last.resident / KIB / KIB:.1f} MiB"
    text += f", {course.grown / KIB:+,.0f} KiB"
    text += f", {course.slope / KIB:+.2f} KiB per 10,000; descriptors {first.descriptors} → {last.descriptors}"
    text += f", pipes {first.pipes} → {last.pipes}, the kernel's sockets {first.sockets} → {last.sockets}"
    values = {**course.values(), "count": done - warm, "a_second": round(rate), "lines": server.lines() - lines}
    return Figure(server.subject, text, kept if server.ours else None, values)


def cycles(count: int, subjects: Sequence[Subject], place: Lab) -> Iterator[Figure]:
    """Connections."""
    for server in place.each(*subjects, services=SERVICES):
        clients = Cycles(server.tcp["echo"], ours=server.ours)

        def batch(clients: Cycles = clients) -> int:
            clients.batch()
            return clients.count

        figure = soak(server, count, "connection", batch)
        figure.values["ways"] = dict(clients.done)
        yield figure


def tls_cycles(count: int, subjects: Sequence[Subject], place: Lab) -> Iterator[Figure]:
    """Connections over TLS."""
    for server in place.each(*(subject for subject in subjects if subject in ONE_PROCESS), services=TLS_SERVICES):
        clients = TlsCycles(server.tls["echo"])

        def batch(clients: TlsCycles = clients) -> int:
            clients.batch()
            return clients.count

        figure = soak(server, count, "connection", batch, TLS_NOISE)
        figure.values["ways"] = dict(clients.done)
        yield figure


def datagrams(count: int, subjects: Sequence[Subject], place: Lab) -> Iterator[Figure]:
    """Datagrams."""
    for server in place.each(*subjects, services=SERVICES):
        sources = Datagrams(server.udp["echo"], ours=server.ours)

        def batch(sources: Datagrams = sources) -> int:
            sources.batch()
            return sources.sent

        try:
            figure = soak(server, count, "datagram", batch)
        finally:
            sources.close()
        figures = {"answered": sources.answered, "lost": sources.lost, "refused": sources.refused}
        lost = f", {sources.lost:,} lost" if sources.lost else ""
        yield replace(figure, text=figure.text + lost, values={**figure.values, **figures})


def census(count: int, _place: Lab) -> Iterator[Figure]:
    """Count Python's objects."""
    for way, subject in zip(objects.WAYS, cycle(ONE_PROCESS)):
        more = objects.growth(way, count)
        most = ", ".join(f"{name} +{number}" for name, number in sorted(more.items(), key=lambda one: -one[1])[:3])
        kept = all(number < count / 100 for number in more.values())
        kept_most = most or "no more objects of any type"
        title = f"after {many(count, 'connection')}{' over TLS' if 'tls' in way else ''}"
        yield Figure(subject, f"{title}: {kept_most}", kept, dict(more))


def progress(figure: Figure) -> None:
    """Print each figure as soon as it is known: a scenario takes minutes."""
    print(f"    … {figure.subject}: {figure.text}", file=sys.stderr, flush=True)


def scenarios(asked: argparse.Namespace) -> Iterator[Scenario]:
    """The scenarios of the command line; a count of 0 leaves one out."""
    chosen = [one for one in SUBJECTS if not asked.only or str(one) in asked.only]
    if asked.cycles:
        title = f"{many(asked.cycles, 'connection')} opened and closed"
        yield Scenario(NUMBER, title, PROMISE, partial(cycles, asked.cycles, chosen))
    if asked.tls and any(one in ONE_PROCESS for one in chosen):
        title = f"{many(asked.tls, 'connection')} over TLS opened and closed"
        yield Scenario(NUMBER, title, PROMISE, partial(tls_cycles, asked.tls, chosen))
    if asked.datagrams:
        yield Scenario(NUMBER, many(asked.datagrams, "datagram"), PROMISE, partial(datagrams, asked.datagrams, chosen))
    if asked.objects:
        promise = "no type has more objects than before: less than one for every hundred connections"
        yield Scenario(NUMBER, "Python's objects", promise, partial(census, asked.objects))


def main(words: Sequence[str] | None = None) -> int:
    """Returns 0: every promise that was tried is kept; 1: one is broken; 2: usage error; 130: interrupted."""
    asked = parse(words)
    known = header()
    print(" · ".join(known.values()))
    running = (attempt(scenario, progress) for scenario in scenarios(asked))
    outcomes, whole = play(running, asked.json, lambda: known)
    if not whole:
        return 130
    return int(any(outcome.verdict == BROKEN for outcome in outcomes))
