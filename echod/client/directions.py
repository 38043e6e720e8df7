"""The directions of a path, from the timestamps and the counters of a reflector. Pure; times are nanoseconds.

    T1 the probe is sent      T2 the reflector receives it      T3 it replies      T4 the reply is received

T1 and T4 are times of this machine's clock, T2 and T3 of the reflector's. So T2 - T1 and T4 - T3 are the delays of the
two directions, plus and minus the offset between the clocks.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from echod.client.statistics import Times
from echod.measurement.timestamps import estimate_of, time_of

SHORTEST_DRIFT: Final = 10.0  #: seconds of measurement below which a drift is only noise
_WINDOWS: Final = 256  #: windows in which the fastest probe is kept to find the drift


class OneWay(NamedTuple):
    """The times of one reply, in seconds. The first two contain the offset of the clocks, and may be negative."""

    forward: float
    backward: float
    processing: float  #: in the reflector: T3 - T2


class Offset(NamedTuple):
    """How far the reflector's clock is ahead of this machine's, in seconds, and the uncertainty of that."""

    seconds: float
    uncertainty: float


class Directions:
    """The statistics of both directions."""

    def __init__(self) -> None:
        self.forward = SignedTimes()
        self.backward = SignedTimes()
        self.processing = Times()
        self.synchronized = True  # whether both clocks were, in all replies
        self.remote_error = 0.0  # the largest Error Estimate of the reflector, in seconds
        self._best = math.inf  # the shortest time on the path
        self._offset = 0.0
        self._first = 0
        self._windows: dict[int, tuple[float, float, float]] = {}  # the shortest time, when, and the offset
        self._window = 1  # seconds

    def add(self, t1: int, t4: int, received: int, sent: int, estimate: int) -> OneWay:
        """Add a reply: T1 and T4, and the timestamps T2 and T3 with their Error Estimate, as in the packet."""
        t2, t3 = time_of(received, estimate, t1), time_of(sent, estimate, t1)
        found = OneWay((t2 - t1) / 1e9, (t4 - t3) / 1e9, (t3 - t2) / 1e9)
        self.forward.add(found.forward)
        self.backward.add(found.backward)
        self.processing.add(max(0.0, found.processing))
        quality = estimate_of(estimate)
        self.synchronized = self.synchronized and quality.synchronized and quality.is_valid
        self.remote_error = max(self.remote_error, quality.seconds)
        self._note_offset(t1, found)
        return found

    def _note_offset(self, t1: int, found: OneWay) -> None:
        """Keep the offset of the fastest probe, and that of each window: queues disturb it least."""
        path, offset = found.forward + found.backward, (found.forward - found.backward) / 2
        self._first = self._first or t1
        if path < self._best:
            self._best, self._offset = path, offset
        at = (t1 - self._first) / 1e9
        window = int(at // self._window)
        if window not in self._windows or path < self._windows[window][0]:
            self._windows[window] = (path, at, offset)
        if len(self._windows) > _WINDOWS:
            self._window *= 2
            kept: dict[int, tuple[float, float, float]] = {}
            for best in self._windows.values():
                window = int(best[1] // self._window)
                kept[window] = min(best, kept.get(window, best))
            self._windows = kept

    @property
    def offset(self) -> Offset:
        """The offset by the fastest probe. The path may be asymmetric by all of its time (RFC 5905 10)."""
        return Offset(self._offset, max(0.0, self._best) / 2)

    @property
    def drift(self) -> float | None:
        """How much faster the reflector's clock runs, as a fraction; None if the measurement was too short."""
        points = [(at, offset) for _, at, offset in self._windows.values()]
        if not points or max(points)[0] - min(points)[0] < SHORTEST_DRIFT:
            return None
        mean_at = sum(at for at, _ in points) / len(points)
        mean_offset = sum(offset for _, offset in points) / len(points)
        spread = sum((at - mean_at) ** 2 for at, _ in points)
        return sum((at - mean_at) * (offset - mean_offset) for at, offset in points) / spread

    def doubts(self, *, here_synchronized: bool) -> str:
        """Why the one-way delays mean nothing, or "". Their differences (jitter) are right all the same."""
        if min(self.forward.minimum, self.backward.minimum) < 0:
            return "a delay is negative: the clocks differ by more than the delay"
        if abs(self.offset.seconds) > self.offset.uncertainty:
            return "the clocks differ by more than the delay"
        if not here_synchronized:
            return "this machine's clock is not synchronized"
        if not self.synchronized:
            return "the reflector's clock is not synchronized"
        return ""


class SignedTimes:
    """Statistics of seconds that may be negative: those of `Times`, of the distance from the first one."""

    def __init__(self) -> None:
        self._times: list[Times] = [Times(), Times()]
        self.minimum = math.inf
        self._last: float | None = None
        self._steps = 0.0
        self.count = 0

    def add(self, seconds: float) -> None:
        """Add one."""
        self.count += 1
        self.minimum = min(self.minimum, seconds)
        self._times[seconds < 0].add(abs(seconds))
        if self._last is not None:
            self._steps += abs(seconds - self._last)
        self._last = seconds

    @property
    def jitter(self) -> float:
        """The mean of the absolute differences between one and the next: independent of the clocks' offset."""
        return self._steps / (self.count - 1) if self.count > 1 else 0.0

    def quantile(self, fraction: float) -> float:
        """The quantile of a fraction (0-1)."""
        above, below = self._times
        rank = fraction * (self.count - 1)
        if below.count and rank <= below.count - 1:
            return -below.quantile(1 - (rank / (below.count - 1) if below.count > 1 else 0.0))
        rest = (rank - below.count) / (above.count - 1) if above.count > 1 else 0.0
        return above.quantile(max(0.0, rest))

    def figures(self) -> dict[str, Any]:
        """The figures in milliseconds, by name."""
        if not self.count:
            return {f"{name}_ms": None for name in ("min", "avg", "median", "p99", "max", "jitter")}
        above, below = self._times
        mean = (above.mean * above.count - below.mean * below.count) / self.count
        largest = above.maximum if above.count else -below.minimum
        values = (self.minimum, mean, self.quantile(0.5), self.quantile(0.99), largest, self.jitter)
        names = ("min", "avg", "median", "p99", "max", "jitter")
        return {f"{name}_ms": round(value * 1000, 6) for name, value in zip(names, values, strict=True)}
