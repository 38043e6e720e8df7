"""The messages of this hub that the broker has not returned yet, in their order."""

from __future__ import annotations

from collections import deque

from echod.bus.frame_socket import OVERHEAD
from echod.bus.frames import Frame


class UnreturnedMessages:
    """A queue of frames, with the sequence that each was published with."""

    def __init__(self) -> None:
        self.bytes = 0  #: of all, with OVERHEAD for each
        self.taken = 0  #: messages that were removed by `take`: other daemons may not have them
        self._queue: deque[tuple[int, str, Frame]] = deque()

    def add(self, sequence: int, topic: str, frame: Frame) -> None:
        """Add a frame that was published."""
        self._queue.append((sequence, topic, frame))
        self._count(frame, 1)

    def returned(self, sequence: int) -> bool:
        """Remove the oldest one. False: the message that has returned was removed by `take` already."""
        if not self._queue or self._queue[0][0] != sequence:
            return False
        self._count(self._queue.popleft()[2], -1)
        return True

    def is_overtaken(self, sequence: int) -> bool:
        """Whether a later message than the oldest one has returned: the broker has lost the oldest one."""
        return bool(self._queue) and 0 < (sequence - self._queue[0][0]) & 0xFFFFFFFF < 0x80000000

    def take(self, topic: str) -> list[Frame]:
        """Remove all of a topic, and return them."""
        frames = [frame for _, name, frame in self._queue if name == topic]
        self._queue = deque(entry for entry in self._queue if entry[1] != topic)
        self.taken += len(frames)
        for frame in frames:
            self._count(frame, -1)
        return frames

    def _count(self, frame: Frame, sign: int) -> None:
        self.bytes += sign * (len(frame.payload) + OVERHEAD)
