"""Compile the load generator, and the peers that are C or Go, into the folder of the run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from bench.machine import program

LOADGEN: Final = Path(__file__).parent / "loadgen"


OPENSSL: Final = ("-lssl", "-lcrypto")


class NotBuilt(Exception):
    """A program could not be compiled. The message is one line with the compiler's first error."""


def _run(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuilt(f"{what}: {error}") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        first = next((line for line in lines if "error" in line), lines[0] if lines else "no output")
        raise NotBuilt(f"{what} does not compile: {first}")


def _cc() -> str:
    found = program("cc", "gcc", "clang")
    if found is None:
        raise NotBuilt("no C compiler (cc) was found: apt install gcc libc6-dev | dnf install gcc")
    return found


def build_load(folder: Path) -> Path:
    """Compile the load generator, which every measurement needs, and return its path. Raises NotBuilt."""
    target = folder / "load"
    command = [_cc(), "-O2", "-std=gnu11", "-o", str(target), *map(str, sorted(LOADGEN.glob("*.c")))]
    _run([*command, *(OPENSSL if has_openssl() else ())], "the load generator")
    return target


def has_openssl() -> bool:
    """Whether programs can be compiled with OpenSSL. Without it the workloads of TLS are left out."""
    command = [_cc(), "-include", "openssl/ssl.h", "-E", "-x", "c", "/dev/null"]
    return subprocess.run(command, capture_output=True, timeout=300, check=False).returncode == 0


def build_peer(source: Path, folder: Path) -> Path:
    """Compile a peer's program, unless that was done; return the path of the program. Raises NotBuilt."""
    target = folder / source.stem
    if not target.exists():
        if source.suffix == ".go":
            command = [program("go") or "go", "build", "-o", str(target), str(source)]
        else:
            command = [_cc(), "-O3", "-std=gnu11", "-o", str(target), str(source)]
            command += OPENSSL if "openssl/" in source.read_text() else ()
        _run(command, source.name)
    return target
