"""Many token buckets: one number each, in a table of bounded size."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from echod.gate.limits import Rate

K = TypeVar("K")

TABLE: Final = 65_536
"""Entries of a table: with key and number about 13 MiB. Forged sources evict the oldest entries, and each new one has a
full bucket: therefore one more bucket limits all sources together."""


class Buckets(Generic[K]):
    """One bucket for each key, by the generic cell rate algorithm (ITU-T I.371). Its state is the time at which
    it will be full again. A key that is not in the table has a full bucket.

    Times are seconds on one clock that never steps back.
    """

    def __init__(self, rate: Rate, size: int = TABLE) -> None:
        self._interval = 1 / rate.per_second
        self._depth = rate.burst / rate.per_second + self._interval / 100  # a hundredth of a token, for rounding
        self._size = size
        self._full_at: OrderedDict[K, float] = OrderedDict()  # a dict finds its oldest entry in linear time

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: K, now: float, cost: float = 1.0) -> bool:
        """Take `cost` tokens if the bucket has them; False takes nothing."""
        table = self._full_at
        full_at = table.pop(key, now)
        full_at = max(full_at, now)
        after = full_at + cost * self._interval
        taken = after - now <= self._depth
        table[key] = after if taken else full_at
        if len(table) > self._size:
            table.popitem(last=False)
        return taken
