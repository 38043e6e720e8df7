"""Counts probes and their replies: received, late, duplicated, reordered, wrong or lost. Pure: time is passed in."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final, NamedTuple

from echod.client.directions import OneWay

REMEMBERED: Final = 65_536
"""Number of recent probes whose send times are kept: 18 hours at one a second, or a minute at one a millisecond."""

_OPEN, _WRONG, _RIGHT, _LOST = range(4)


class ReplyClass(Enum):
    """The classes of replies."""

    RECEIVED = "received"  #: the first correct reply to a probe, in time
    REORDERED = "reordered"  #: the same, but after a reply to a later probe (RFC 4737 3)
    DUPLICATED = "duplicated"  #: correct, but not the first
    LATE = "late"  #: correct, but after the probe was counted as lost
    WRONG = "wrong"  #: not what the service replies to this probe


class ProbeResult(NamedTuple):
    """The result for one reply. `number` is None if the reply belongs to no known probe."""

    kind: ReplyClass
    number: int | None
    size: int  #: bytes of the reply
    seconds: float | None = None  #: from the probe to its reply; None if that is not known
    error: str = ""  #: a description of the error, for ReplyClass.WRONG
    remote: str = ""  #: the service that replied, if the reply shows it: echo, reflector or udpechoplus
    ttl: int | None = None  #: of the reply
    one_way: OneWay | None = None  #: the times of each direction, if a reflector replied
    parts: tuple[float, float] | None = None  #: seconds of connecting, and of the TLS handshake after it


class ProbeLedger:
    """Counts probes and their replies. Times are seconds of any monotonic clock.

    Each probe is either received or lost. It is lost if no correct reply arrives within `patience` seconds. The total
    of all replies is `received + duplicated + late + wrong`. `received` includes the `reordered` ones.
    """

    settled_in_order: Callable[[int, bool, float], None] = staticmethod(lambda number, received, sent_at: None)
    """Called for each probe in the order of the numbers: whether it was received, and when it was sent."""

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
        self._highest = 0  # number of a probe that has a reply
        self._settled = 0  # no probe up to this number is open

    def send(self, now: float) -> int:
        """Record that the next probe is sent. Returns its number; the first probe is 1."""
        self.sent += 1
        self._times[self.sent % self._remembered] = now
        self._fates[self.sent % self._remembered] = _OPEN
        return self.sent

    def restart(self, number: int, now: float) -> None:
        """Start the time of a probe without a reply again: it was sent again, to another address."""
        slot = number % self._remembered
        if number > self.sent - self._remembered and self._fates[slot] in (_OPEN, _WRONG):
            self._times[slot] = max(self._times[slot], now)

    def restart_all(self, now: float) -> None:
        """Restart the time of every probe that can still get a reply in time."""
        for number in list(self._awaited(now)):
            self.restart(number, now)

    def lose(self, number: int) -> bool:
        """Count a probe as lost before its timeout. Returns False if it has a reply or is lost already."""
        slot = number % self._remembered
        if number <= self.sent - self._remembered or self._fates[slot] != _OPEN:
            return False
        self._fates[slot] = _LOST
        return True

    def oldest(self, now: float) -> int | None:
        """The number of the first probe that can still get a reply in time. Call `overdue` first."""
        number = self._first_open()
        return None if number is None or now - self._times[number % self._remembered] > self.patience else number

    def overdue(self, now: float) -> Iterator[int]:
        """Yield each probe that has become lost since the last call. Pass infinity to count all open probes as lost."""
        while (number := self._first_open()) is not None:
            if now - self._times[number % self._remembered] <= self.patience:
                return
            self.lose(number)
            yield number

    def next_due(self) -> float | None:
        """The time at which the first open probe becomes lost; None if no probe is open."""
        number = self._first_open()
        return None if number is None else self._times[number % self._remembered] + self.patience

    def _first_open(self) -> int | None:
        self._settled = max(self._settled, self.sent - self._remembered)
        while self._settled < self.sent and (fate := self._fates[(self._settled + 1) % self._remembered]) != _OPEN:
            self._settled += 1
            self.settled_in_order(self._settled, fate == _RIGHT, self._times[self._settled % self._remembered])
        return self._settled + 1 if self._settled < self.sent else None

    def answer(self, number: int, size: int, now: float) -> ProbeResult:
        """Record a correct reply of `size` bytes to probe `number`, which has been sent."""
        if number <= self.sent - self._remembered:
            self.late += 1
            return ProbeResult(ReplyClass.LATE, number, size)
        slot = number % self._remembered
        seconds = now - self._times[slot]
        if self._fates[slot] == _RIGHT:
            self.duplicated += 1
            return ProbeResult(ReplyClass.DUPLICATED, number, size, seconds)
        lost, self._fates[slot] = self._fates[slot] == _LOST, _RIGHT
        overtaken = number < self._highest
        self._highest = max(self._highest, number)
        if lost or seconds > self.patience:
            self.late += 1
            return ProbeResult(ReplyClass.LATE, number, size, seconds)
        self.received += 1
        self.reordered += overtaken
        self._first_open()
        return ProbeResult(ReplyClass.REORDERED if overtaken else ReplyClass.RECEIVED, number, size, seconds)

    def mistake(self, number: int | None, size: int, error: str) -> ProbeResult:
        """Record a wrong reply of `size` bytes. A probe with this `number` is then no longer awaited."""
        self.wrong += 1
        if number is not None and number > self.sent - self._remembered:
            slot = number % self._remembered
            self._fates[slot] = self._fates[slot] or _WRONG
        return ProbeResult(ReplyClass.WRONG, number, size, error=error)

    def is_awaited(self, number: int) -> bool:
        """Whether a recent probe has neither a reply nor is lost."""
        return (
            max(0, self.sent - self._remembered) < number <= self.sent
            and self._fates[number % self._remembered] == _OPEN
        )

    def awaited(self, now: float) -> int:
        """The number of probes that can still get a reply in time."""
        return sum(1 for _ in self._awaited(now))

    def settled(self, now: float) -> bool:
        """Whether every probe has a reply or is lost."""
        return next(self._awaited(now), None) is None

    def _awaited(self, now: float) -> Iterator[int]:
        for number in range(self.sent, max(0, self.sent - self._remembered), -1):
            slot = number % self._remembered
            if now - self._times[slot] > self.patience:
                return
            if self._fates[slot] == _OPEN:
                yield number
