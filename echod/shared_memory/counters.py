"""The counters of listeners in several processes: each process counts alone, and publishes its counters now and then.

A counter is an attribute of `Counters`, as in one process, so counting costs the same. The parent adds what the workers
publish to its own objects. A worker that is killed loses what it counted after its last `publish`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from echod.events import BY_REASON, Closing, Counters
from echod.faults.keys import KEYS
from echod.gate.refusal import Refusal
from echod.shared_memory.memory import Keys, SharedMemory, Table

_PLAIN: Final = tuple(name for name in Counters.__slots__ if name not in ("open", *BY_REASON))

_Place = tuple[str, Any]
"""The attribute of Counters, and the reason in it, or None."""

_OPEN: Final[_Place] = ("open", None)
_GROWING: Final[tuple[_Place, ...]] = (
    *((name, None) for name in _PLAIN),
    *(("refused", reason) for reason in Refusal),
    *(("closed", reason) for reason in Closing),
    *(("faults", key) for key in KEYS),
)


class SharedCounters:
    """The counters of all listeners of one process."""

    def __init__(self, memory: SharedMemory, column: int) -> None:
        self._memory = memory
        self._made: dict[tuple[str, str], Counters] = {}
        self._keys: dict[tuple[str, str], dict[int, _Place]] = {}
        self._open_keys: dict[tuple[str, str], int] = {}
        self._growing = Keys(memory, Table.COUNTERS, column)
        self._open = Keys(memory, Table.OPEN, column)
        self._published: dict[tuple[str, str], tuple[int, ...]] = {}
        self._collected: Counter[int] = Counter()  # by key: what was added of other processes

    def of(self, service: str, address: str) -> Counters:
        """The counters of one listener: the same object at each call."""
        listener = (service, address)
        if listener not in self._made:
            self._made[listener] = Counters()
            words = [word.encode() for word in listener]
            hash_of = self._memory.hash_of
            self._keys[listener] = {
                hash_of(b"counter", *words, name.encode(), str(reason).encode()): (name, reason)
                for name, reason in _GROWING
            }
            self._open_keys[listener] = hash_of(b"listener", *words)
        return self._made[listener]

    def publish(self) -> None:
        """Show the counters of this process to the parent: call it in a worker."""
        for listener, counters in self._made.items():
            now = (
                counters.open,
                *(getattr(counters, name) for name in _PLAIN),
                sum(counters.refused.values()),
                sum(counters.closed.values()),
                sum(counters.faults.values()),
            )
            if now != self._published.get(listener):
                self._published[listener] = now
                self._open.set(self._open_keys[listener], counters.open)
                for key, place in self._keys[listener].items():
                    if value := _value(counters, place):
                        self._growing.set(key, value)

    def collect(self) -> None:
        """Add what the workers have published since the last call to the counters here: call it in the parent."""
        growing, slots = self._totals(Table.COUNTERS), self._totals(Table.OPEN)
        for listener, counters in self._made.items():
            for key, place in self._keys[listener].items():
                self._add(counters, place, key, growing[key])
            open_key = self._open_keys[listener]
            self._add(counters, _OPEN, open_key, slots[open_key])

    def release(self, column: int) -> None:
        """The connections of a process that has ended are closed: count them, in the parent."""
        for listener, counters in self._made.items():
            if was_open := self._open.of(column, self._open_keys[listener]):
                counters.closed[Closing.WORKER] = counters.closed.get(Closing.WORKER, 0) + was_open

    def _totals(self, table: Table) -> Counter[int]:
        """The sums of all processes, by key."""
        totals: Counter[int] = Counter()
        for column in self._memory.in_use():
            for _at, values, keys in self._memory.used_sets(table, column):
                for value, key in zip(values, keys, strict=True):
                    totals[key] += value
        return totals

    def _add(self, counters: Counters, place: _Place, key: int, total: int) -> None:
        if by := total - self._collected[key]:
            self._collected[key] = total
            name, reason = place
            if reason is None:
                setattr(counters, name, getattr(counters, name) + by)
            else:
                of_reasons = getattr(counters, name)
                of_reasons[reason] = of_reasons.get(reason, 0) + by


def _value(counters: Counters, place: _Place) -> int:
    name, reason = place
    value: int = getattr(counters, name) if reason is None else getattr(counters, name).get(reason, 0)
    return value
