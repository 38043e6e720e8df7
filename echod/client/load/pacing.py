"""When messages are sent: at planned times (an open loop), or as soon as replies arrive (a closed loop). Pure.

In an open loop each message has a planned time, and its latency counts from that time, not from the time at which it
was sent. So a server that stops for a while delays every message that was planned in that time. A closed loop sends
nothing meanwhile, and only the messages in flight show the stop (coordinated omission).
"""

from __future__ import annotations

import math

SECOND = 1_000_000_000  #: nanoseconds


class Pace:
    """How many messages may be sent now. All times are nanoseconds of one monotonic clock.

    `rate` is in messages a second, or None for a closed loop. Sending ends after `count` messages or `seconds`. No
    message is planned for the end or later.
    """

    def __init__(self, rate: float | None, count: int | None, seconds: float | None) -> None:
        self.rate = rate
        self._count = math.inf if count is None else count
        self._duration = math.inf if seconds is None else round(seconds * SECOND)
        self.issued = 0
        self._begun = 0
        self.end = math.inf  #: the time at which sending ends; infinite without one

    def begin(self, now: int) -> None:
        """Start: the first message is planned for now."""
        self._begun = now
        self.end = now + self._duration

    def planned(self, number: int) -> int:
        """The planned time of a message, by its number from 0, in an open loop."""
        assert self.rate is not None
        return self._begun + round(number * SECOND / self.rate)

    def due(self, now: int) -> int:
        """In an open loop, how many messages are due; after the end those that were planned before it, too."""
        assert self.rate is not None
        if now >= self.end:
            return self.unsent(now)
        passed = math.floor((now - self._begun) * self.rate / SECOND) + 1
        return int(max(0, min(self._count, passed) - self.issued))

    def issue(self, count: int) -> list[int]:
        """In an open loop, the planned times of the next `count` messages."""
        first, self.issued = self.issued, self.issued + count
        return [self.planned(number) for number in range(first, first + count)]

    def take(self, room: int, now: int) -> list[int]:
        """In a closed loop, the times of the messages that are sent now; `room` is how many can be."""
        if now >= self.end or room <= 0:
            return []
        count = room if self.issued + room <= self._count else int(self._count - self.issued)
        self.issued += count
        return [now] * count

    def over(self, now: int) -> bool:
        """Whether nothing more is sent."""
        return self.issued >= self._count or now >= self.end

    def share(self, now: int) -> float:
        """The share of the count or of the time that is over (0–1), the larger of both."""
        return min(1.0, max(self.issued / self._count, (now - self._begun) / self._duration))

    def unsent(self, now: int) -> int:
        """Messages that were planned for a time before the end, and were not sent; 0 in a closed loop."""
        if self.rate is None:
            return 0
        most = math.ceil(min(self._duration, now - self._begun) * self.rate / SECOND)
        return int(max(0, min(self._count, most) - self.issued))

    def next(self, now: int) -> float:
        """The time of the next message of an open loop; infinite if none follows."""
        if self.rate is None or self.over(now):
            return math.inf
        planned = self.planned(self.issued)
        return planned if planned < self.end else math.inf


class Backoff:
    """The pauses before a connection is opened again: 50 ms, twice as long after each failure, at most a second."""

    SHORTEST, LONGEST = 0.05, 1.0

    def __init__(self) -> None:
        self._next = self.SHORTEST

    def reset(self) -> None:
        """After a success: the next pause is the shortest again."""
        self._next = self.SHORTEST

    def pause(self) -> float:
        """The next pause in seconds."""
        pause, self._next = self._next, min(2 * self._next, self.LONGEST)
        return pause
