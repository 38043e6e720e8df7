"""Endless inputs for a target: its corpus, and random changes of it, from one seed. It needs only Python."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fuzz.target import Attempt, Target

CORPUS: Final = Path(__file__).with_name("corpus")
LONGEST: Final = 4096  #: bytes of an input
PATIENCE: Final = 60  #: seconds for one input; a longer time counts as a hang
SHRINKS: Final = 3_000  #: attempts to make a crash smaller


def corpus(target: Target) -> list[bytes]:
    """The corpus of a target: one line per input, as a Python bytes literal; inputs that crashed are included."""
    file = file_of(target)
    lines = file.read_text("ascii").splitlines() if file.exists() else []
    return [_decoded(line) for line in lines if line and not line.startswith("#")]


def file_of(target: Target) -> Path:
    """The path of its corpus."""
    return CORPUS / f"{target.name.strip('-').replace(' ', '-')}.txt"


def line_of(data: bytes) -> str:
    """An input as a line of a corpus."""
    said = data.decode("latin-1").encode("unicode_escape").decode("ascii")
    return "\\x23" + said[1:] if said.startswith("#") else said


def _decoded(line: str) -> bytes:
    return line.encode("ascii").decode("unicode_escape").encode("latin-1")


def inputs(target: Target, chance: random.Random) -> Iterator[bytes]:
    """The corpus in order, and then random changes of it, without end."""
    known = corpus(target)
    yield from known
    pool = [b"", *known]
    while True:
        yield _changed(chance.choice(pool), pool, target.tokens, chance)


def _changed(data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes], chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(1 + int(chance.expovariate(0.4))):
        at = chance.randint(0, len(changed))
        behind = min(len(changed), at + int(chance.expovariate(0.2)))
        match chance.randrange(9):
            case 0 | 1 if tokens:
                changed[at:at] = chance.choice(tokens)
            case 2:
                changed[at:at] = chance.randbytes(1 + int(chance.expovariate(0.3)))
            case 3:
                del changed[at:behind]
            case 4 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 5 if at < len(changed):
                changed[at] = chance.choice((0, 1, 10, 34, 37, 47, 58, 91, 127, 128, 192, 237, 255, changed[at] ^ 32))
            case 6:
                changed[at:at] = changed[at:behind] * chance.choice((1, 2, 50))
            case 7:
                other = chance.choice(pool)
                begin = chance.randint(0, len(other))
                changed[at:behind] = other[begin : begin + 1 + int(chance.expovariate(0.1))]
            case _:
                changed += chance.randbytes(int(chance.expovariate(0.05)))
    return bytes(changed[:LONGEST])


@dataclass
class Tried:
    """The result of trying inputs."""

    inputs: int = 0
    accepted: int = 0
    seconds: float = 0.0
    slowest: float = 0.0  #: seconds of the slowest input
    crashes: list[tuple[bytes, BaseException]] = field(default_factory=list)


class Hangs(Exception):
    """One input has taken PATIENCE seconds."""


@contextmanager
def _alarmed() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hangs(f"more than {PATIENCE} s for one input")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def hammer(target: Target, seed: int, seconds: float, most: int = 1 << 62) -> Tried:
    """Try inputs on a target for so many seconds and at most so many of them; the first crash of a kind ends it."""
    tried, attempt = Tried(), target.ready()
    began = time.monotonic()
    with _alarmed():
        for data in inputs(target, random.Random(f"{target.name} {seed}")):
            before = time.monotonic()
            if before - began >= seconds or tried.inputs >= most:
                break
            if tried.inputs % 64 == 0:
                signal.alarm(PATIENCE)
            tried.inputs += 1
            try:
                tried.accepted += attempt(data)
            except Exception as error:
                tried.crashes.append((_smaller(attempt, data, type(error)), error))
                break
            tried.slowest = max(tried.slowest, time.monotonic() - before)
    tried.seconds = time.monotonic() - began
    return tried


def _smaller(attempt: Attempt, data: bytes, kind: type[BaseException]) -> bytes:
    """A part of an input that crashes in the same way."""
    left, width = SHRINKS, max(1, len(data) // 2)
    while left and len(data) > 1:
        for at in range(0, len(data), width):
            shorter = data[:at] + data[at + width :]
            left -= 1
            signal.alarm(PATIENCE)
            try:
                attempt(shorter)
            except kind:
                data = shorter
                break
            except Exception:
                continue
            if not left:
                break
        else:
            if width == 1:
                break
            width //= 2
    return data
