"""The interface of a fuzz target, and the checks that several targets use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from echod.socket_names import Inet

Attempt = Callable[[bytes], bool]

HERE: Final = Inet("127.0.0.1", 10_007)


@dataclass(frozen=True)
class Target:
    """An input interface of the project.

    `ready` returns the attempt: a function that takes one input, returns whether it was accepted, and raises if a
    promise is broken. `tokens` are typical parts of its inputs, from which changed inputs are made.
    """

    name: str
    promise: str
    ready: Callable[[], Attempt]
    tokens: tuple[bytes, ...] = ()


def text_of(data: bytes) -> str:
    """As Python decodes arguments that are not UTF-8."""
    return data.decode("utf-8", "surrogateescape")


def assert_plain(line: str) -> None:
    """Check that a line is not empty and is safe to print."""
    assert line.strip(), "an empty line"
    assert line.isprintable(), f"not safe to print: {line!a}"
