"""What an input is tried on, and what must hold of whatever comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from echod.names import Inet

Attempt = Callable[[bytes], bool]

HERE: Final = Inet("127.0.0.1", 10_007)


@dataclass(frozen=True)
class Target:
    """Something of ours that takes input from outside.

    `ready` makes the attempt: it takes one input, says whether that was accepted, and raises where a promise is
    broken. `tokens` are what its inputs are made of, for whoever changes them.
    """

    name: str
    promise: str
    ready: Callable[[], Attempt]
    tokens: tuple[bytes, ...] = ()


def text_of(data: bytes) -> str:
    """As the system hands over what is no UTF-8."""
    return data.decode("utf-8", "surrogateescape")


def assert_plain(line: str) -> None:
    """One line that is safe to print, and says something."""
    assert line.strip(), "an empty line"
    assert line.isprintable(), f"not safe to print: {line!a}"
