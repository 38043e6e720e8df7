"""A token bucket: a rate a second with a burst."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """A token bucket. A rate `per_second` of 0 means no limit; `clock` returns monotonic seconds."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float]) -> None:
        self.per_second = per_second
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._since = clock()

    def take(self) -> bool:
        """Take a token; returns False if none is left."""
        if not self.per_second:
            return True
        self._fill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def charge(self) -> None:
        """Take a token that was used elsewhere; if none is left, it is missing later."""
        self._fill()
        self._tokens -= 1

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._since) * self.per_second)
        self._since = now
