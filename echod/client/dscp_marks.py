"""The DSCP that probes have when they reach a reflector, and that replies have when they arrive. Pure.

A probe with `-Q` has a Class of Service TLV (RFC 8972 4.4). It requests the same DSCP for the reply, and the reflector
adds the one that it received. So a router that changes the DSCP is found, with its direction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


class DscpMarks:
    """Counts the DSCPs of each direction."""

    def __init__(self) -> None:
        self._sent: int | None = None
        self._forward: Counter[int] = Counter()
        self._backward: Counter[int] = Counter()
        self._refused = 0

    def add(self, requested: int, received: int, *, refused: bool, traffic_class: int | None) -> None:
        """Add a reply: what its TLV states, and the traffic class with which it arrived, if that is known."""
        self._sent = requested
        self._forward[received] += 1
        self._refused += refused
        if traffic_class is not None:
            self._backward[traffic_class >> 2] += 1

    def figures(self) -> dict[str, Any] | None:
        """The DSCP of the probes, and how many arrived with each; None without a reply that states it."""
        if self._sent is None:
            return None
        by_direction = {"forward": self._forward, "backward": self._backward}
        counts = {name: {str(dscp): of[dscp] for dscp in sorted(of)} for name, of in by_direction.items()}
        return {"sent": self._sent, **counts, "refused": self._refused}


def dscp_line(found: Mapping[str, Any]) -> str:
    """The figures as a line of text."""
    text = f"dscp {found['sent']}: forward {_counts(found['forward'])}, backward {_counts(found['backward'])}"
    return text + (f"; the reflector refused it for {found['refused']} replies" if found["refused"] else "")


def _counts(found: Mapping[str, int]) -> str:
    if len(found) == 1:
        return next(iter(found))
    return " and ".join(f"{dscp} ({count} times)" for dscp, count in found.items()) or "unknown"
