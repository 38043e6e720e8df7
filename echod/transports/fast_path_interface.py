"""The interface between a factory and what carries its connections without Conversations: the fast path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from echod.gate.total_buffer import Pressure

Worth = Callable[[int, int, int], bool]
"""Whether a connection is worth a description: of its received, sent and unsent bytes."""


class Carrier(Protocol):
    """Carries connections of a factory that are not Conversations: the interface of the fast path."""

    def watch(self, now: float) -> None:
        """End connections that reached a time limit, as Conversation.watch does."""

    def flush_counters_in_steps(self) -> Iterator[None]:
        """Flush byte counts into the counters, as ServiceFactory.flush_counters_in_steps does."""

    def hold_back(self, pressure: Pressure) -> None:
        """Apply the pressure on the send budget, as Conversation.hold_back does."""

    def describe_connections(self, worth: Worth | None = None) -> Iterator[dict[str, Any] | None]:
        """Describe each connection, as ServiceFactory.describe_connections does."""
