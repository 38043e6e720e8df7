"""Token buckets by the thousand: one number each, in a table that never grows beyond its size."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from echod.gate.limits import Rate

K = TypeVar("K")

TABLE: Final = 65_536
"""Entries of a table: with key and number about 13 MiB. Forged sources push the oldest out, and each newcomer
has a full bucket: that is why one bucket for all stands behind the tables."""


class Buckets(Generic[K]):
    """One bucket for each key, by the generic cell rate algorithm (ITU-T I.371): its state is the time at which
    it will be full again, so that a key that is not in the table is the same as one that is full.

    Times are seconds on one clock that never steps back.
    """

    def __init__(self, rate: Rate, size: int = TABLE) -> None:
        self._interval = 1 / rate.per_second
        self._depth = rate.burst / rate.per_second + self._interval / 100  # a hundredth of a token, for rounding
        self._size = size
        self._full_at: OrderedDict[K, float] = OrderedDict()  # a dict would look for its oldest entry ever longer

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: K, now: float, cost: float = 1.0) -> bool:
        """Take `cost` tokens if they are there; False takes nothing."""
        table = self._full_at
        full_at = table.pop(key, now)
        full_at = max(full_at, now)
        after = full_at + cost * self._interval
        taken = after - now <= self._depth
        table[key] = after if taken else full_at
        if len(table) > self._size:
            table.popitem(last=False)
        return taken

    def empty(self, key: K, now: float) -> bool:
        """Whether not even one token is there; a key of which that is asked stays in the table."""
        if key not in self._full_at:
            return False
        self._full_at.move_to_end(key)
        return self._full_at[key] + self._interval - now > self._depth

    def after(self, key: K, now: float, cost: float) -> float | None:
        """When it will be full again if `cost` is taken; None where that is not there. `put` takes it."""
        full_at = self._full_at.get(key, now)
        after = (full_at if full_at > now else now) + cost * self._interval
        return after if after - now <= self._depth else None

    def put(self, key: K, full_at: float) -> None:
        """Take what `after` answered to."""
        table = self._full_at
        table[key] = full_at
        table.move_to_end(key)
        if len(table) > self._size:
            table.popitem(last=False)

    def used(self, key: K, now: float) -> float:
        """How much of the bucket is gone, from 0 (full) to 1 (empty)."""
        return max(0.0, self._full_at.get(key, now) - now) / self._depth
