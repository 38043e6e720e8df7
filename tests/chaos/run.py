"""Every attack that has a time or a rate in its promise, on echod and on others: `python -m tests.chaos`.

What can be counted is asserted in tests/gate, at every commit. Here are the figures: they are printed with a
verdict, and depend on the machine. As root everything takes place in a network of its own.
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
)
from tests.chaos.lab import Lab
from tests.chaos.network import Lacking, alone
from tests.chaos.page import updated
from tests.chaos.report import BROKEN, Figure, Outcome, Scenario, many, play

MODULES = (
    admin_load,
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
)
SCENARIOS = sorted((scenario for module in MODULES for scenario in module.SCENARIOS), key=lambda one: one.number)
BUSY = 0.7  #: processes ready to run before we began, beyond which times are somebody else's too


def chosen(text: str) -> list[int]:
    """Numbers of attacks, with commas between them. Raises ArgumentTypeError."""
    known = {str(one.number): one.number for one in SCENARIOS}
    try:
        return [known[each.strip()] for each in text.split(",")]
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"there is no attack {error}; there are {', '.join(known)}") from None


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__, add_help=True)
    parser.add_argument(
        "--only", type=chosen, action="extend", metavar="N,…", default=[], help="these attacks, by number; repeatable"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table of FILE anew, docs/PROMISES.md")
    parser.add_argument("--list", action="store_true", help="say what there is, and attack nobody")
    return parser.parse_args(words)


def header() -> dict[str, str]:
    """When and where."""
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"date": datetime.now().astimezone().isoformat(" ", "minutes"), "machine": machine, "python": python}


@contextmanager
def lab() -> Iterator[Lab]:
    """A network of its own, or this machine's loopback."""
    try:
        with alone() as network, network.inside():
            yield Lab(network, "")
    except Lacking as lacking:
        yield Lab(None, f"{lacking}: run it as root")


def attempt(scenario: Scenario, tell: Callable[[Figure], None] = lambda _figure: None) -> Outcome:
    """Run one; whatever happens is in the outcome, and `tell` hears of each figure as it comes."""
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
    """0 every promise that could be tried was kept; 1 one was broken; 2 usage; 130 interrupted."""
    asked = parse(words)
    wanted = [one for one in SCENARIOS if not asked.only or one.number in asked.only]
    if asked.list:
        for one in wanted:
            print(f"{one.number:2}  {one.title}: {one.promise}")
        return 0
    known = header()
    print(" · ".join(known.values()))
    if os.getloadavg()[0] > BUSY:
        print("the machine was busy before: counts hold, times less so")
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
