"""The random decisions of one connection or flow.

Every random number is a function of the seed, the number of the connection or flow, a purpose, and an index. So one
fault does not change the pattern of another, and the pattern does not depend on time.
"""

from __future__ import annotations

import math
import struct
from hashlib import blake2b
from typing import Final, NamedTuple

from echod.config.units import LONGEST
from echod.faults.settings import Faults

_UNIT: Final = 2.0**-53  # numbers have 53 bits, as those of random.random()
FAR: Final = 2.0**60  #: bytes: further than any stream gets
PARETO: Final = 3.0
"""The exponent of the Pareto distribution, as in netem(8). With it the mean of the random time is half of `jitter`."""


class Pattern:
    """The random numbers of connection or flow `number` under `seed`."""

    __slots__ = ("_hash",)

    def __init__(self, seed: int, number: int) -> None:
        self._hash = blake2b(digest_size=8, key=struct.pack(">QQ", seed, number))

    def uniform(self, purpose: bytes, index: int) -> float:
        """A number from 0 to below 1."""
        drawn = self._hash.copy()
        drawn.update(purpose + index.to_bytes(8))
        return (int.from_bytes(drawn.digest()) >> 11) * _UNIT

    def delay(self, faults: Faults, index: int) -> float:
        """The seconds that reply `index` is delayed."""
        if not faults.jitter:
            return faults.delay
        drawn = self.uniform(b"delay", index)
        return min(max(0.0, faults.delay + faults.jitter * spread(faults.distribution, drawn)), LONGEST)


def spread(distribution: str, drawn: float) -> float:
    """The random part of a delay in units of `jitter`, from a uniform number: the inverse of its distribution.

    uniform is from 0 to 1. normal has mean 0 and standard deviation 1. pareto is at least 0, with mean 1/2.
    """
    if distribution == "normal":
        from statistics import NormalDist  # slow to import, and seldom used

        return NormalDist().inv_cdf(drawn or _UNIT)
    if distribution == "pareto":
        return float((1 - drawn) ** (-1 / PARETO) - 1)
    return drawn


class Fate(NamedTuple):
    """The faults of one message or datagram."""

    drop: bool = False
    duplicate: bool = False
    reorder: bool = False
    corrupt: float | None = None  #: where a bit is changed, as a share of the message; None: nowhere
    delay: float = 0.0  #: seconds


class Fates:
    """The fates of the messages of one connection or flow, one after another."""

    __slots__ = ("_index", "_losing", "_pattern")

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._index = 0
        self._losing = False  # the bad state of the model of bursts

    def next(self, faults: Faults) -> Fate:
        """The fate of the next message."""
        index, self._index = self._index, self._index + 1
        drawn = self._pattern.uniform
        return Fate(
            bool(faults.drop) and self._drops(faults, drawn(b"drop", index), not index),
            bool(faults.duplicate) and drawn(b"duplicate", index) < faults.duplicate,
            bool(faults.reorder) and drawn(b"reorder", index) < faults.reorder,
            drawn(b"place", index) if faults.corrupt and drawn(b"corrupt", index) < faults.corrupt else None,
            self._pattern.delay(faults, index),
        )

    def _drops(self, faults: Faults, drawn: float, first: bool) -> bool:
        """Whether a message is lost. With `burst`, by the model of Gilbert and Elliott: every message in the bad state.

        The mean stay in the bad state is `burst` messages, and the share of messages in it is `drop`.
        """
        if faults.burst is None or first:
            self._losing = drawn < faults.drop
            return self._losing
        leave = 1 / faults.burst
        enter = leave * faults.drop / (1 - faults.drop)
        self._losing = drawn >= leave if self._losing else drawn < enter
        return self._losing


class Corruption:
    """Changes single bits of a stream: each byte with the same probability. The pieces of the stream do not matter."""

    __slots__ = ("_at", "_count", "_pattern", "_probability")

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._count = 0  # changed bytes so far
        self._probability = 0.0
        self._at = 0  # the offset of the next byte to change

    def applied(self, data: bytes, offset: int, probability: float) -> tuple[bytes, int]:
        """The bytes of a stream from `offset` on, and how many of them were changed."""
        if probability != self._probability:
            self._probability, self._at = probability, offset
            self._go_on()
        if not probability or self._at >= offset + len(data):
            return data, 0
        changed, before = bytearray(data), self._count
        while (index := self._at - offset) < len(data):
            changed[index] ^= 1 << int(self._pattern.uniform(b"bit", self._count) * 8)
            self._count += 1
            self._at += 1
            self._go_on()
        return bytes(changed), self._count - before

    def _go_on(self) -> None:
        """Skip the bytes that are not changed: their number is geometric."""
        if 0 < self._probability < 1:
            drawn = self._pattern.uniform(b"gap", self._count)
            self._at += int(min(math.log1p(-drawn) / math.log1p(-self._probability), FAR))


def corrupted(message: bytes, place: float, text: bool | None) -> bytes:
    """A message with one bit changed. Text stays valid UTF-8."""
    if not message:
        return message
    changed, index = bytearray(message), int(place * len(message))
    if not text:
        changed[index] ^= 1 << int(place * len(message) * 8) % 8
        return bytes(changed)
    while index + 1 < len(message) and message[index + 1] & 0xC0 == 0x80:  # the last byte of its character
        index += 1
    changed[index] ^= 1
    return bytes(changed)


def cut(message: bytes, size: int, text: bool | None) -> bytes:
    """The first `size` bytes of a message; for text, without a part of a character."""
    if size >= len(message):
        return message
    if text:
        while size and message[size] & 0xC0 == 0x80:
            size -= 1
    return message[:size]
