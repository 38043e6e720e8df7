"""Compiling, on the spot and into the run's own folder: the load generator, and the peers that are C or Go."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from bench.machine import program

LOADGEN: Final = Path(__file__).parent / "loadgen"


class NotBuilt(Exception):
    """One line: what could not be compiled, and the compiler's first complaint."""


def _run(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuilt(f"{what}: {error}") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        complaint = next((line for line in lines if "error" in line), lines[0] if lines else "no reason given")
        raise NotBuilt(f"{what} does not compile: {complaint}")


def _cc() -> str:
    found = program("cc", "gcc", "clang")
    if found is None:
        raise NotBuilt("there is no C compiler (cc): apt install gcc libc6-dev | dnf install gcc")
    return found


def build_load(folder: Path) -> Path:
    """The load generator; nothing is measured without it."""
    target = folder / "load"
    _run([_cc(), "-O2", "-std=gnu11", "-o", str(target), *map(str, sorted(LOADGEN.glob("*.c")))], "the load generator")
    return target


def build_peer(source: Path, folder: Path) -> Path:
    """A peer's program, named like its source; one that is there already is not compiled again."""
    target = folder / source.stem
    if not target.exists():
        if source.suffix == ".go":
            command = [program("go") or "go", "build", "-o", str(target), str(source)]
        else:
            command = [_cc(), "-O3", "-std=gnu11", "-o", str(target), str(source)]
        _run(command, source.name)
    return target
