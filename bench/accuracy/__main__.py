"""Measures paths whose behaviour is known with echoctl ping, irtt and sockperf, and prints what each reported."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from bench.accuracy.clients import CLIENTS, Client, Found
from bench.machine import describe
from bench.option_values import decimal_number, whole_number
from bench.signals import terminated_with_children

PATHS: Final[Mapping[str, tuple[dict[str, float], dict[str, float]]]] = {
    "no impairment": ({}, {}),
    "10 ms each way": ({"delay": 0.01}, {"delay": 0.01}),
    "jitter ±3 ms": ({"delay": 0.01, "jitter": 0.003}, {"delay": 0.01, "jitter": 0.003}),
    "asymmetric, 5 and 25 ms": ({"delay": 0.005}, {"delay": 0.025}),
    "loss 5% forward": ({"delay": 0.002, "loss": 0.05}, {"delay": 0.002}),
    "loss 5% backward": ({"delay": 0.002}, {"delay": 0.002, "loss": 0.05}),
    "loss 3% and 6%": ({"delay": 0.002, "loss": 0.03}, {"delay": 0.002, "loss": 0.06}),
    "duplicates 5% each way": ({"delay": 0.002, "duplicate": 0.05}, {"delay": 0.002, "duplicate": 0.05}),
    "reordering 5% backward": ({"delay": 0.002}, {"delay": 0.025, "reorder": 0.05}),
    "200 kbit/s each way": ({"delay": 0.005, "rate": 200_000}, {"delay": 0.005, "rate": 200_000}),
}


@contextmanager
def path(server: int, name: str, seed: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """A path to a server: its port, and an object that has the records after the end."""
    ahead, home = PATHS[name]
    settings = {"server": server, "ahead": ahead, "home": home, "seed": seed}
    command = [sys.executable, "-m", "bench.accuracy.impaired_path", json.dumps(settings)]
    records: dict[str, Any] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline()), records
        said, _ = process.communicate("")
        records.update(json.loads(said))


class Truth:
    """The fate of the probes of a client on the path, by its records."""

    def __init__(self, client: Client, records: Mapping[str, Any]) -> None:
        self.lost_ahead = self.lost_home = self.copies = 0
        self.times: dict[int, int] = {}
        self.numbers: list[int] = []
        self.ahead_ms, self.home_ms = (_median_ms(records[way]) for way in ("ahead", "home"))
        begun: dict[int, int] = {}
        for record in records["ahead"]:
            number = client.number(bytes.fromhex(record["head"]), reply=False)
            if number is not None:
                self.numbers.append(number)
                begun[number] = record["received"]
                self.lost_ahead += not record["sent"]
                self.copies += len(record["sent"]) > 1
        for record in records["home"]:
            number = client.number(bytes.fromhex(record["head"]), reply=True)
            if number is not None and number in begun:
                self.lost_home += not record["sent"]
                self.copies += len(record["sent"]) > 1
                if record["sent"]:
                    self.times[number] = min(self.times.get(number, 2**63), min(record["sent"]) - begun[number])


def _median_ms(records: list[dict[str, Any]]) -> float | None:
    """The median time of datagrams within one direction of the path, in milliseconds."""
    times = sorted(record["sent"][0] - record["received"] for record in records if record["sent"])
    return times[len(times) // 2] / 1e6 if times else None


def row(name: str, client: Client, found: Found, truth: Truth) -> str:
    """The line of one client on one path."""
    errors = sorted(
        abs(time - truth.times[number]) / 1000
        for number, time in found.times.items()
        if number in truth.times and found.numbered
    )
    p50, p99 = (f"{errors[int(share * (len(errors) - 1))]:.1f}" if errors else "–" for share in (0.5, 0.99))
    times = sorted(truth.times.values())
    median = f"{times[len(times) // 2] / 1e6:.3f}" if times else "–"
    reported = sorted(found.times.values())
    ours = f"{reported[len(reported) // 2] / 1e6:.3f}" if reported else "–"
    delays = [
        " / ".join("–" if one is None else f"{one:.3f}" for one in (of.ahead_ms, of.home_ms)) for of in (truth, found)
    ]
    directions = f"{_count(found.lost_ahead)} / {_count(found.lost_home)}"
    return (
        f"| {name} | {client.name} | {median} | {ours} | {p50} | {p99} | {delays[0]} | {delays[1]} |"
        f" {truth.lost_ahead} / {truth.lost_home} | {directions} ({found.lost}) |"
        f" {truth.copies} | {found.duplicated} | {_count(found.reordered)} |"
    )


def _count(number: int | None) -> str:
    return "–" if number is None else str(number)


def main(words: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("--count", type=whole_number(10), default=400, help="probes on each path (400)")
    parser.add_argument("--interval", type=decimal_number(0.0005, 60), default=0.01, help="seconds between them (0.01)")
    parser.add_argument("--seed", type=int, default=1, help="number that begins the random decisions of the path (1)")
    parser.add_argument("--only", action="append", choices=list(PATHS), help="a path; may be repeated")
    parser.add_argument("--client", action="append", choices=list(CLIENTS), help="a client; may be repeated")
    options = parser.parse_args(words)
    print(", ".join(f"{name}: {value}" for name, value in describe().items()))
    print()
    print(
        "| Path | Client | RTT median, ms | reported | error p50, us | error p99, us |"
        " There / back, ms | reported | Lost there / back | reported (all) | Copies | reported | Reordered |"
    )
    print("|" + " --- |" * 13)
    for name in options.only or PATHS:
        for client in (CLIENTS[key] for key in options.client or CLIENTS):
            if package := client.missing():
                print(f"| {name} | {client.name}: install {package} |" + " |" * 11)
                continue
            with client.server() as port:
                with path(port, name, options.seed) as (front, records):
                    found = client.run(front, options.count, options.interval)
                print(row(name, client, found, Truth(client, records)), flush=True)
    return 0


if __name__ == "__main__":
    with terminated_with_children():
        sys.exit(main())
