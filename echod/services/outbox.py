"""What waits for one member of a conversation: bounded, so that who does not read costs nobody else anything."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from echod.model import NOTHING, End, Reply, Say

WAITING: Final = 262_144  #: octets that wait for one member, beside the connection's own `buffer`: minutes of talk
OVERHEAD: Final = 64  #: octets that a line counts for besides its own: short lines are bounded as well
PIECE: Final = 16_384  #: octets that a stream is handed at a time: what is handed over can give way no more


class Outbox:
    """A queue of lines that the transport empties as fast as its peer takes them.

    Where more than WAITING waits, the oldest lines give way; `missed` says the line that tells how many. A line
    is put, and goes out with the next `flow` or `reply`.
    """

    def __init__(self, say: Say, missed: Callable[[int], bytes], *, joined: bool) -> None:
        self._say = say
        self._missed = missed
        self._joined = joined  # whether lines may be handed over together: not where each is a datagram
        self._lines: deque[bytes] = deque()
        self._octets = 0
        self._dropped = 0
        self._flowing = False  # whether the transport has `_drain`, and with it whatever is put later

    def put(self, line: bytes) -> None:
        """One more line, with its end."""
        self._lines.append(line)
        self._octets += len(line) + OVERHEAD
        while self._octets > WAITING:
            self._octets -= len(self._lines.popleft()) + OVERHEAD
            self._dropped += 1

    def flow(self) -> None:
        """Let go out what waits."""
        reply = self.reply()
        if reply is not NOTHING:
            self._say(reply)

    def reply(self) -> Reply:
        """What waits, as the answer to what was asked; nothing where it flows already."""
        if self._flowing or not self._lines:
            return NOTHING
        self._flowing = True
        return Reply(more=self._drain())

    def end(self) -> None:
        """Say no more than what waits, and close."""
        self._say(self.reply()._replace(end=End.CLOSE))

    def _drain(self) -> Iterator[bytes]:
        while self._lines:
            if self._dropped:
                told, self._dropped = self._missed(self._dropped), 0
                yield told
                continue
            piece = self._next()
            if self._joined:
                parts, size = [piece], len(piece)
                while self._lines and size + len(self._lines[0]) <= PIECE and not self._dropped:
                    parts.append(self._next())
                    size += len(parts[-1])
                piece = b"".join(parts)
            yield piece
        self._flowing = False

    def _next(self) -> bytes:
        line = self._lines.popleft()
        self._octets -= len(line) + OVERHEAD
        return line
