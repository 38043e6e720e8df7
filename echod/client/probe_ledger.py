"""What became of each probe: answered, late, twice, overtaken, wrong, or lost. Pure; the clock is handed in."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple

REMEMBERED: Final = 65_536
"""The last probes whose times are known: 18 hours of one a second, or a minute of one a millisecond."""

_OPEN, _WRONG, _RIGHT, _LOST = range(4)


class Verdict(Enum):
    """What one answer is."""

    RECEIVED = "received"  #: the first right answer to a probe, in time
    REORDERED = "reordered"  #: the same, after an answer to a later probe (RFC 4737 3)
    DUPLICATED = "duplicated"  #: right, and not the first
    LATE = "late"  #: right, and the probe had been given up
    WRONG = "wrong"  #: not what the service answers


class Finding(NamedTuple):
    """What an answer turned out to be. `number` is None where it answers no probe that we know of."""

    verdict: Verdict
    number: int | None
    octets: int
    seconds: float | None = None  #: from the probe to its answer; None where that is not known
    fault: str = ""  #: what is wrong, in words


class Account:
    """Counts probes and their answers. Times are seconds of any clock that never steps back.

    A probe is received or lost, and nothing else: lost when no right answer has come for `patience`. All answers
    together are `received + duplicated + late + wrong`; those that were `reordered` are among the received.
    """

    def __init__(self, patience: float, remembered: int = REMEMBERED) -> None:
        self.patience = patience
        self.sent = 0
        self.received = 0
        self.reordered = 0
        self.duplicated = 0
        self.late = 0
        self.wrong = 0
        self._remembered = remembered
        self._times = array("d", bytes(8 * remembered))
        self._fates = bytearray(remembered)
        self._highest = 0  # number that was answered
        self._settled = 0  # no probe up to this number is open

    def send(self, now: float) -> int:
        """The next probe leaves; its number, the first being 1."""
        self.sent += 1
        self._times[self.sent % self._remembered] = now
        self._fates[self.sent % self._remembered] = _OPEN
        return self.sent

    def restart(self, number: int, now: float) -> None:
        """The time of a probe that has no answer yet begins now: it was sent again, to another address."""
        place = number % self._remembered
        if number > self.sent - self._remembered and self._fates[place] in (_OPEN, _WRONG):
            self._times[place] = max(self._times[place], now)

    def restart_all(self, now: float) -> None:
        """The same for every probe that may still be answered in time."""
        for number in list(self._awaited(now)):
            self.restart(number, now)

    def lose(self, number: int) -> bool:
        """Give up a probe before its time. Returns False if it has an answer, or has been given up already."""
        place = number % self._remembered
        if number <= self.sent - self._remembered or self._fates[place] != _OPEN:
            return False
        self._fates[place] = _LOST
        return True

    def oldest(self, now: float) -> int | None:
        """The first probe that may still be answered in time, once `overdue` has been asked."""
        number = self._first_open()
        return None if number is None or now - self._times[number % self._remembered] > self.patience else number

    def overdue(self, now: float) -> Iterator[int]:
        """Each probe that has become lost since the last call. Pass infinity to give up all of them."""
        while (number := self._first_open()) is not None:
            if now - self._times[number % self._remembered] <= self.patience:
                return
            self.lose(number)
            yield number

    def next_due(self) -> float | None:
        """When the first probe that has no answer becomes lost; None if each has one, or is lost already."""
        number = self._first_open()
        return None if number is None else self._times[number % self._remembered] + self.patience

    def _first_open(self) -> int | None:
        self._settled = max(self._settled, self.sent - self._remembered)
        while self._settled < self.sent and self._fates[(self._settled + 1) % self._remembered] != _OPEN:
            self._settled += 1
        return self._settled + 1 if self._settled < self.sent else None

    def answer(self, number: int, octets: int, now: float) -> Finding:
        """A right answer of so many octets came to the probe of this number, which has been sent."""
        if number <= self.sent - self._remembered:
            self.late += 1
            return Finding(Verdict.LATE, number, octets)
        place = number % self._remembered
        seconds = now - self._times[place]
        if self._fates[place] == _RIGHT:
            self.duplicated += 1
            return Finding(Verdict.DUPLICATED, number, octets, seconds)
        lost, self._fates[place] = self._fates[place] == _LOST, _RIGHT
        overtaken = number < self._highest
        self._highest = max(self._highest, number)
        if lost or seconds > self.patience:
            self.late += 1
            return Finding(Verdict.LATE, number, octets, seconds)
        self.received += 1
        self.reordered += overtaken
        return Finding(Verdict.REORDERED if overtaken else Verdict.RECEIVED, number, octets, seconds)

    def mistake(self, number: int | None, octets: int, fault: str) -> Finding:
        """A wrong answer came; with a number, nothing better is waited for any more."""
        self.wrong += 1
        if number is not None and number > self.sent - self._remembered:
            place = number % self._remembered
            self._fates[place] = self._fates[place] or _WRONG
        return Finding(Verdict.WRONG, number, octets, fault=fault)

    def awaited(self, now: float) -> int:
        """How many probes may still be answered in time."""
        return sum(1 for _ in self._awaited(now))

    def settled(self, now: float) -> bool:
        """Whether no probe can be answered in time any more."""
        return next(self._awaited(now), None) is None

    def _awaited(self, now: float) -> Iterator[int]:
        for number in range(self.sent, max(0, self.sent - self._remembered), -1):
            place = number % self._remembered
            if now - self._times[place] > self.patience:
                return
            if self._fates[place] == _OPEN:
                yield number
