"""Hostile input into every interface: `python -m tests.fuzz`.

It has four ways, each with a share of the time: the property tests with many more examples; random inputs into every
target; inputs guided by coverage, if atheris is installed; and bytes into every socket of a daemon. The number is that
of docs/PROMISES.md. An input that crashes is made smaller, printed, and written into tests/fuzz/corpus, so that
`make test` tries it from then on.
"""

from __future__ import annotations

import argparse
import random
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench.option_values import decimal_number
from tests.chaos.report import BROKEN, Figure, Outcome, Scenario, Subject, many, play
from tests.chaos.run import header
from tests.fuzz import engine, guided, properties, wire
from tests.fuzz.engine import Tried, file_of, line_of
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

NUMBER: Final = 24
SHARES: Final = {"properties": 0.25, "chance": 0.4, "coverage": 0.2, "wire": 0.15}
A_TIME: Final = 30.0  #: seconds of the property tests with their usual examples, on an idle machine


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--seconds", type=decimal_number(0, 1e6), default=300.0, metavar="N", help="total time (default: 300)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="repeat these inputs (default: random, and printed)")
    parser.add_argument("--way", choices=SHARES, action="append", help="only this way; repeatable")
    parser.add_argument(
        "--only",
        choices=[one.name for one in TARGETS],
        action="append",
        metavar="TARGET",
        help="only this target, of the random and the guided way; repeatable",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--list", action="store_true", help="list the targets and try none")
    return parser.parse_args(words)


class Count:
    """The number of inputs, and of those that failed."""

    def __init__(self) -> None:
        self.inputs = 0
        self.crashes = 0


def attempt(title: str, promise: str, run: Callable[[], Tried], target: Target | None, count: Count) -> Outcome:
    """Run one; the outcome holds any exception, and the corpus receives any crash."""
    outcome = Outcome(Scenario(NUMBER, title, promise, lambda _field: iter(())))
    try:
        tried = run()
    except Exception as error:
        outcome.failure = f"{type(error).__name__}: {error}"
        traceback.print_exc()
        return outcome
    count.inputs += tried.inputs
    count.crashes += len(tried.crashes)
    outcome.seconds = tried.seconds
    text = f"{many(tried.inputs, 'input')} in {tried.seconds:.0f} s"
    text += f", {tried.accepted:,} of them accepted" if tried.accepted else ""
    text += f", the slowest {tried.slowest * 1000:.0f} ms" if tried.slowest else ""
    figures = {"inputs": tried.inputs, "accepted": tried.accepted, "slowest_ms": round(tried.slowest * 1000, 1)}
    outcome.figures.append(Figure(Subject.ECHOD, text, not tried.crashes, {**figures, "crashes": len(tried.crashes)}))
    for data, wrong in tried.crashes:
        outcome.failure = f"on {line_of(data)[:200]}"
        traceback.print_exception(wrong)
        if target is not None and data:
            with file_of(target).open("a", encoding="ascii") as file:
                file.write(line_of(data) + "\n")
    return outcome


def _properties(seconds: float, seed: int) -> Tried:
    ran = properties.run(max(1, round(seconds / A_TIME)), seed)
    crashes: list[tuple[bytes, BaseException]] = [(b"", RuntimeError(ran.said))] if ran.failed else []
    return Tried(ran.examples, 0, ran.seconds, 0.0, crashes)


def outcomes(asked: argparse.Namespace, seed: int, count: Count) -> Iterator[Outcome]:
    """Run every way, one after the other."""
    ways = asked.way or list(SHARES)
    chosen = [target for target in TARGETS if not asked.only or target.name in asked.only]
    whole = sum(SHARES[way] for way in ways)
    share = {way: asked.seconds * SHARES[way] / whole for way in ways}
    if "properties" in ways:
        run = partial(_properties, share["properties"], seed)
        yield attempt("properties, with many examples", "every property holds", run, None, count)
    for target in chosen if "chance" in ways else ():
        run = partial(engine.hammer, target, seed, share["chance"] / len(chosen))
        yield attempt(f"{target.name}, at random", target.promise, run, target, count)
    for target in chosen if "coverage" in ways else ():
        title = f"{target.name}, guided by coverage"
        if not guided.available():
            scenario = Scenario(NUMBER, title, target.promise, lambda _field: iter(()))
            yield Outcome(scenario, lacking=guided.LACKING)
            continue
        run = partial(guided.hammer, target, seed, share["coverage"] / len(chosen))
        yield attempt(title, target.promise, run, target, count)
    for plane in ("auto", "python", "off") if "wire" in ways else ():
        run = partial(wire.hammer, plane, seed, share["wire"] / 3)
        promise = "correct replies meanwhile, and no line in the log"
        yield attempt(f'every socket of a daemon, plane = "{plane}"', promise, run, None, count)


def main(words: Sequence[str] | None = None) -> int:
    """Returns 0: no input failed; 1: one failed; 2: usage error; 130: interrupted."""
    asked = parse(words)
    if asked.list:
        for target in TARGETS:
            print(f"{target.name}: {target.promise}")
        return 0
    seed = random.SystemRandom().randrange(2**32) if asked.seed is None else asked.seed
    known = {**header(), "seed": str(seed)}
    print(" · ".join([*header().values(), f"seed {seed}"]))
    count, began = Count(), time.monotonic()
    found, whole = play(outcomes(asked, seed, count), asked.json, lambda: {**known, "inputs": count.inputs})
    if not whole:
        return 130
    broken = any(outcome.verdict == BROKEN for outcome in found)
    said = f"{many(count.inputs, 'hostile input')} in {time.monotonic() - began:.0f} s"
    crashes = f"{count.crashes} of them failed"
    print(f"\n{said}, {crashes}: {BROKEN if broken else 'kept'}")
    return int(broken)
