"""Loss, duplication and reordering by direction, from a reflector's own sequence numbers. Pure.

A stateful reflector numbers its replies in each session, from 0 (RFC 8762 4.3). So the numbers that are missing among
the replies were lost on the way back, and all other lost probes on the way there. A stateless reflector copies the
number of the probe, which shows nothing: then the directions are unknown.

UDPEchoPlus (TR-143) numbers its replies too, but those to all clients together. If there are more of them than probes,
another client measures as well, and the directions are unknown.
"""

from __future__ import annotations

from typing import Any


class DirectionLoss:
    """Counts from the numbers of the replies: that of the probe, and that of the reflector; both from 0."""

    def __init__(self) -> None:
        self._is_stateful = False
        self._is_shared = False  # whether the numbers count the replies to other clients
        self._base: int | None = None
        self._probes: set[int] = set()  # numbers of probes with a reply; below `_probe_floor` all are counted
        self._replies: set[int] = set()
        self._highest_probe = -1
        self._highest_reply = -1
        self._received = 0  # replies
        self._distinct_replies = 0
        self._distinct_probes = 0
        self.duplicated_forward = 0
        self.duplicated_backward = 0
        self.reordered_forward = 0
        self.reordered_backward = 0

    @property
    def is_known(self) -> bool:
        """Whether the directions of losses, duplicates and reordering are known."""
        return self._is_stateful and not self._is_shared

    def add(self, probe: int, reply: int, counted: int | None, *, is_of_all: bool = False) -> None:
        """Add a reply. `counted` is the number of received packets by its Direct Measurement, or None.

        `is_of_all`: the number `reply` counts the replies to all clients, if there are others.
        """
        if self._base is None:
            self._base = 0 if reply <= probe else reply - probe  # the reflector had a session of these ports before
        reply -= self._base
        self._is_stateful = self._is_stateful or counted is not None or reply != probe
        known, seen = probe in self._probes, reply in self._replies
        if seen:
            self.duplicated_backward += 1
        elif known:
            self.duplicated_forward += 1
        if not seen:
            self._replies.add(reply)
            self._distinct_replies += 1
            if reply < self._highest_reply:
                self.reordered_backward += 1
            elif probe < self._highest_probe:
                self.reordered_forward += 1
        if not known:
            self._probes.add(probe)
            self._distinct_probes += 1
        self._highest_probe = max(self._highest_probe, probe)
        if is_of_all and reply > self._highest_probe + self.duplicated_forward:
            self._is_shared = True
        self._highest_reply = max(self._highest_reply, reply)
        self._forget()

    def _forget(self) -> None:
        """Keep the memory bounded: a number that is far behind is not expected any more."""
        for numbers, highest in ((self._probes, self._highest_probe), (self._replies, self._highest_reply)):
            if len(numbers) > 2 * _KEPT:
                for number in [number for number in numbers if number < highest - _KEPT]:
                    numbers.discard(number)

    def lost(self, sent: int) -> dict[str, Any]:
        """Lost probes by direction, of `sent` ones. Those after the last reply are of an unknown direction."""
        if not self.is_known:
            return {"forward": None, "backward": None, "unknown": sent - self._distinct_probes}
        all_lost = sent - self._distinct_probes
        unknown = min(all_lost, sent - 1 - self._highest_probe)
        missing = max(0, self._highest_reply + 1 - self._distinct_replies)
        backward = min(missing, all_lost - unknown)
        return {"forward": all_lost - unknown - backward, "backward": backward, "unknown": unknown}


_KEPT = 65_536
