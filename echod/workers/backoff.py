"""How long the parent waits before it replaces a worker: not at all, unless workers end again and again."""

from __future__ import annotations

from typing import Final

MOST: Final = 5  #: ends of workers …
WITHIN: Final = 10.0  #: … in this many seconds, from which the next worker has to wait
FIRST: Final = 1.0  #: seconds
LONGEST: Final = 30.0


class Backoff:
    """The delays of replacements, over all workers of a daemon. Times are in seconds on a monotonic clock."""

    def __init__(self) -> None:
        self._ended: list[float] = []
        self._delay = 0.0

    def ended(self, now: float) -> float:
        """Record the end of a worker; returns the seconds until another one may take its place.

        The delay doubles with each end, up to LONGEST. It is 0 again if no worker ends for WITHIN seconds after it.
        """
        if self._delay and now - self._ended[-1] > self._delay + WITHIN:
            self._delay, self._ended = 0.0, []
        self._ended = [*(before for before in self._ended if now - before < WITHIN), now]
        if self._delay:
            self._delay = min(self._delay * 2, LONGEST)
        elif len(self._ended) >= MOST:
            self._delay = FIRST
        return self._delay
