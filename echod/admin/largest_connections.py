"""Finds the connections with the most traffic, or the most unsent bytes, among all open ones, in steps.

Only a connection that may be among the largest is described, because a description takes a system call.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any, Final

SLICE: Final = 64  #: connections of a step

ORDERS: Final = {
    "bytes": lambda came, gone, _unsent: came + gone,
    "in": lambda came, _gone, _unsent: came,
    "out": lambda _came, gone, _unsent: gone,
    "unsent": lambda _came, _gone, unsent: unsent,
}
"""The orders of `?sort=`, by received, sent and unsent bytes."""

Worth = Callable[[int, int, int], bool]


class LargestConnections:
    """The `most` largest of the connections that were added, in one of ORDERS."""

    def __init__(self, most: int, order: str) -> None:
        self._most = most
        self._key = ORDERS[order]
        self._heap: list[tuple[int, int, dict[str, Any]]] = []  # the smallest first; the second member breaks ties
        self._number = count()

    def worth(self, came: int, gone: int, unsent: int) -> bool:
        """Whether a connection with these byte counts would be among the largest so far."""
        return len(self._heap) < self._most or self._key(came, gone, unsent) > self._heap[0][0]

    def add(self, connection: dict[str, Any]) -> None:
        """Add a connection with the members `bytes_in`, `bytes_out` and `unsent`."""
        size = self._key(connection["bytes_in"], connection["bytes_out"], connection["unsent"])
        item = (size, -next(self._number), connection)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, item)
        else:
            heapq.heappushpop(self._heap, item)

    def listed(self) -> list[dict[str, Any]]:
        """The connections, the largest first."""
        return [connection for _, _, connection in sorted(self._heap, reverse=True)]


def largest(
    describe: Callable[[Worth], Iterable[dict[str, Any] | None]], most: int, order: str
) -> Iterator[dict[str, Any] | None]:
    """The largest connections, the largest first, after None for each step of the search.

    `describe` yields the connections that its argument accepts, and None for others at least once in SLICE.
    """
    found = LargestConnections(most, order)
    for at, one in enumerate(describe(found.worth), 1):
        if one is not None:
            found.add(one)
        if one is None or not at % SLICE:
            yield None
    yield from found.listed()
