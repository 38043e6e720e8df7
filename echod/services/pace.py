"""How often somebody may do something: so many a second in the long run, and so many at once."""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """A bucket of tokens. `per_second` of 0 is no limit; `clock` gives seconds that never step back."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float]) -> None:
        self.per_second = per_second
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._since = clock()

    def take(self) -> bool:
        """Whether it may be done once more, now; then it counts."""
        if not self.per_second:
            return True
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._since) * self.per_second)
        self._since = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
