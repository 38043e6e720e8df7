"""Replies that are written over their requests: the interface between a kind of service and the fast path.

A kind whose replies have the length of their requests, but need the time of arrival, may offer it
(`Service.in_place`). The fast path then receives and sends up to 64 datagrams at once, without an object for each.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple, Protocol


class Placed(NamedTuple):
    """A datagram in memory, and the kernel's facts about it."""

    at: int  #: the position of its first byte
    length: int  #: bytes
    seconds: int  #: of arrival, since 1970
    nanoseconds: int  #: of the second
    hops: int  #: remaining
    ends: Hashable = None  #: both addresses of its flow, as in Peer; None unless `needs_ends`


class InPlaceReplies(Protocol):
    """Writes the replies of a service over their requests. `data` is the memory that holds them."""

    needs_ends: bool  #: whether a reply depends on the flow of its request

    def fits(self, data: memoryview, at: int, length: int) -> bool:
        """Whether the datagram at a position has a reply in place. If not, `Service.datagram` serves it."""

    def write(self, data: memoryview, requests: Iterable[Placed]) -> None:
        """Turn requests into replies; each has passed `fits`."""

    def stamp(self, data: memoryview, positions: Iterable[int]) -> None:
        """Write the time of sending into replies that are sent at once."""
