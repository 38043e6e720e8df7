"""The bytes that a load sends, and the verification of the bytes that come back. Pure.

      pattern   ├──────────── PERIOD pseudo-random bytes ────────────┤ and again
      connection 0        0 ─────────────►
      connection 1              7919 ─────────────►

The bytes of a connection are consecutive bytes of the pattern, from a place of its own. So a byte depends on the
connection and on its offset there: a byte that is changed, lost, duplicated, or belongs to another message or
connection does not fit. PERIOD is a prime, so no message size divides it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from echod.escaping import clipped

PERIOD: Final = 1_048_573  #: the largest prime below 2**20
SPAN: Final = 262_144  #: bytes that are compared at once
STEP: Final = 7_919  #: bytes between the places of two connections
AGAIN: Final = 104_729  #: bytes between the places of a connection before and after it was opened again; also a prime
SURE: Final = 64
"""Bytes after which the kind of the service is decided: they have about 13 small letters, which the kinds change."""

Transform = Callable[[bytes], bytes]
KINDS: Final[Mapping[str, Transform]] = MappingProxyType({"echo": bytes})
"""The kind that is expected without further information."""


class OtherService(Exception):
    """The first reply is not that of any known kind. The message shows its first bytes, escaped."""


class Pattern:
    """The pattern, and what a service returns for it.

    `kinds` are the services that are recognized, by name: functions of bytes that keep their number, and whose result
    does not depend on how the bytes are split. The first one is assumed until a reply does not fit it.
    """

    def __init__(self, kinds: Mapping[str, Transform] = KINDS, seed: int = 862) -> None:
        sequence = random.Random(seed).randbytes(PERIOD)
        self._sent = sequence + sequence[:SPAN]
        self._kinds = dict(kinds)
        self._use(next(iter(self._kinds)))
        self._decided = len(self._kinds) == 1

    def _use(self, kind: str) -> None:
        self.kind = kind  #: the kind whose replies are expected
        self.reply: Transform = self._kinds[kind]  #: what it returns for some bytes
        self._expected = self.reply(self._sent)

    def cut(self, place: int, size: int) -> bytes:
        """The `size` bytes to send from `place` on."""
        begin = place % PERIOD
        if size <= SPAN:
            return self._sent[begin : begin + size]
        pieces = [self.cut(place + at, min(SPAN, size - at)) for at in range(0, size, SPAN)]
        return b"".join(pieces)

    def fits(self, data: bytes, place: int) -> bool:
        """Whether the received bytes are those that belong to `place`."""
        if len(data) <= SPAN:
            return self._expected.startswith(data, place % PERIOD)
        return all(self.fits(data[at : at + SPAN], place + at) for at in range(0, len(data), SPAN))

    def decide(self, sent: bytes, received: bytes, *, first: bool) -> int | None:
        """The index of the first wrong byte of a reply that does not fit, or None if it fits another kind.

        `first` is whether nothing was verified before. Then the kind is decided by the reply; raises OtherService if
        it is not similar to that of any kind. If one of both is shorter, the index may be the length of that one.
        """
        if first and not self._decided:
            self._choose(sent[: len(received)], received)
        for index, (expected, came) in enumerate(zip(self.reply(sent), received, strict=False)):
            if expected != came:
                return index
        return None if len(sent) == len(received) else min(len(sent), len(received))

    def _choose(self, sent: bytes, received: bytes) -> None:
        """Use the kind that fits best. A fault may have changed some bytes, so half of them are enough."""
        equal = {
            kind: sum(one == other for one, other in zip(reply(sent), received, strict=False))
            for kind, reply in self._kinds.items()
        }
        best = max(equal, key=lambda kind: equal[kind])
        if equal[best] * 2 < len(received):
            raise OtherService(self.other_service(received))
        self._decided = self._decided or len(received) >= SURE
        if best != self.kind:
            self._use(best)

    def other_service(self, received: bytes) -> str:
        """The error message for a first reply that is not that of any kind."""
        shown = clipped(received.decode("utf-8", "backslashreplace"), 40)
        return f"expected the reply of {', '.join(self._kinds)} or the like, but it begins with '{shown}'"

    def keep(self) -> None:
        """Keep the kind from now on."""
        self._decided = True


def place_of(connection: int, opened: int) -> int:
    """The place of the first byte of a connection, by its number, and how often it was opened before."""
    return (connection * STEP + opened * AGAIN) % PERIOD


class Sizes:
    """The sizes of the messages of one connection, in turn."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._sizes = sizes
        self.most = max(sizes)
        self.only = sizes[0] if len(sizes) == 1 else 0  #: the size of every message; 0 if they differ

    def of(self, number: int) -> int:
        """The bytes of a message, by its number from 0."""
        return self.only or self._sizes[number % len(self._sizes)]
