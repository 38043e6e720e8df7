"""Every attack with a time or a rate in its promise, on echod and on other servers: `python -m tests.chaos`.

Promises that can be counted are asserted in tests/gate, at every commit. Here the figures are measured and printed with
a verdict; they depend on the machine. Run as root, all traffic stays in a private network.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from tests.chaos import (
    admin_load,
    chat_history,
    datagrams,
    exchanges,
    faults,
    fd_exhaustion,
    leftovers,
    links,
    locales,
    logs,
    members,
    nonreading_clients,
    paths,
    process_stops,
    readers,
    shares,
    streams,
    syscalls,
    text_escaping,
    upgrades,
    websocket,
    worker_ends,
)
from tests.chaos.lab import Lab
from tests.chaos.network import Lacking, alone
from tests.chaos.page import updated
from tests.chaos.report import BROKEN, Figure, Outcome, Scenario, many, play

MODULES = (
    admin_load,
    chat_history,
    datagrams,
    exchanges,
    process_stops,
    leftovers,
    links,
    locales,
    logs,
    members,
    paths,
    readers,
    shares,
    fd_exhaustion,
    streams,
    nonreading_clients,
    syscalls,
    text_escaping,
    upgrades,
    websocket,
    worker_ends,
)
SCENARIOS = sorted((scenario for module in MODULES for scenario in module.SCENARIOS), key=lambda one: one.number)
BUSY = 0.7  #: load average before the run above which times include the work of other processes


def chosen(text: str) -> list[int]:
    """Parse numbers of attacks, separated by commas. Raises ArgumentTypeError."""
    known = {str(one.number): one.number for one in SCENARIOS}
    try:
        return [known[each.strip()] for each in text.split(",")]
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"attack {error} is unknown; expected {', '.join(known)}") from None


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__, add_help=True)
    parser.add_argument(
        "--only",
        type=chosen,
        action="extend",
        metavar="N,…",
        default=[],
        help="only these attacks, by number; repeatable",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--page", type=Path, metavar="FILE", help="update the table of FILE (docs/PROMISES.md)")
    parser.add_argument("--list", action="store_true", help="list the attacks and run none")
    return parser.parse_args(words)


def header() -> dict[str, str]:
    """The date, the machine and the Python."""
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"date": datetime.now().astimezone().isoformat(" ", "minutes"), "machine": machine, "python": python}


@contextmanager
def lab() -> Iterator[Lab]:
    """A private network, or this machine's loopback."""
    try:
        with alone() as network, network.inside():
            yield Lab(network, "")
    except Lacking as lacking:
        yield Lab(None, f"{lacking}: run it as root")


def attempt(scenario: Scenario, tell: Callable[[Figure], None] = lambda _figure: None) -> Outcome:
    """Run one; the outcome holds any exception, and `tell` receives each figure as soon as it is known."""
    outcome = Outcome(scenario, busy=faults.busy())
    began = time.monotonic()
    with lab() as place:
        try:
            for figure in scenario.attack(place):
                outcome.figures.append(figure)
                tell(figure)
        except Lacking as lacking:
            outcome.lacking = str(lacking)
        except Exception as error:
            outcome.failure = f"{type(error).__name__}: {error}"
            traceback.print_exc()
    outcome.seconds = time.monotonic() - began
    return outcome


def main(words: Sequence[str] | None = None) -> int:
    """Returns 0: every promise that was tried is kept; 1: one is broken; 2: usage error; 130: interrupted."""
    asked = parse(words)
    wanted = [one for one in SCENARIOS if not asked.only or one.number in asked.only]
    if asked.list:
        for one in wanted:
            print(f"{one.number:2}  {one.title}: {one.promise}")
        return 0
    known = header()
    print(" · ".join(known.values()))
    if os.getloadavg()[0] > BUSY:
        print("the machine was busy before: counts are valid, times less so")
    outcomes, whole = play(map(attempt, wanted), asked.json, lambda: known)
    if not whole:
        return 130
    if asked.page:
        day = known["date"].partition(" ")[0]
        asked.page.write_text(updated(asked.page.read_text("utf-8"), outcomes, day), "utf-8")
    broken = [outcome.scenario.number for outcome in outcomes if outcome.verdict == BROKEN]
    print(
        f"\n{many(len(outcomes), 'attack')}, {many(len(broken), 'promise')} broken" + (f": {broken}" if broken else "")
    )
    return int(bool(broken))
