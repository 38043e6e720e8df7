"""The property tests of the usual run, with more examples."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from tests.daemon import TOP, environment

ROOMS: Final = ("tests/unit", "tests/gate", "tests/fastpath")  #: what tries many examples, in this process
PROFILE: Final = "fuzz"
PATIENCE: Final = 3600  #: seconds


@dataclass(frozen=True)
class Ran:
    """The result; `said` is pytest's output about failed tests."""

    examples: int
    tests: int
    failed: int
    seconds: float
    said: str


def run(times: int, seed: int) -> Ran:
    """Run every property test with so many times its examples."""
    words = [*(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", str(PATIENCE))]
    words += ["--hypothesis-show-statistics", f"--hypothesis-profile={PROFILE}", f"--hypothesis-seed={seed}", *ROOMS]
    began = time.monotonic()
    ended = subprocess.run(
        words,
        check=False,
        cwd=TOP,
        env=environment(EXAMPLES=str(times)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if ended.returncode not in (0, 1):
        raise RuntimeError(f"pytest: {(ended.stdout + ended.stderr)[-2000:]}")
    counted = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed)", ended.stdout)}
    return Ran(
        sum(int(one) + int(other) for one, other in re.findall(r"(\d+) passing[a-z ]*, (\d+) failing", ended.stdout)),
        sum(counted.values()),
        counted.get("failed", 0),
        time.monotonic() - began,
        "\n".join(line for line in ended.stdout.splitlines() if line.startswith(("E  ", "FAILED", "Falsifying"))),
    )
