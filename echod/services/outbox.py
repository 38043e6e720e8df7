"""The outbox: queues lines that one reader gets without a request, in bounded memory.

Everything that a reader did not ask for passes through one: lines of a chat, answers and events of a console, event
streams. The rules:

* An outbox holds at most WAITING bytes. They count in the send budget of the daemon (`total-buffer`); above half of it
  an outbox holds less, and above it a reader that is behind holds a page (CAPS).
* When more is put, the oldest lines are dropped. The reader gets one line in their place with their number (`missed`).
  They are counted in the send budget, for status and metrics.
* A reader that has lost lines for BEHIND seconds without once having read everything is ended.

Pure: the transport, or a response of the admin interface, pulls the pieces.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import Final

from echod.gate.total_buffer import LITTLE, Pressure
from echod.model import NOTHING, Context, End, Reply, Say

WAITING: Final = 262_144  #: bytes that wait for one reader, beside the connection's own `buffer`: minutes of a chat
CAPS: Final[Mapping[Pressure, int]] = {Pressure.NONE: WAITING, Pressure.HALF: WAITING // 4, Pressure.FULL: LITTLE}
OVERHEAD: Final = 64  #: bytes that a line counts for besides its own: short lines are bounded as well
PIECE: Final = 16_384  #: bytes that a stream is handed at a time: what is handed over cannot be dropped any more
BEHIND: Final = 60.0  #: seconds: the default of `stall`, for a reader that takes a little now and then


class Outbox:
    """A queue of lines that is emptied as fast as its reader takes them.

    `missed` makes the line that says how many are missing. `behind` is called once, when the reader has stayed behind
    for too long: it must end it, and nothing is kept for it afterwards. With `joined`, a piece may hold several lines;
    without, each piece is one line, such as a datagram. Call `close` when the reader is gone.
    """

    def __init__(
        self, context: Context, missed: Callable[[int], bytes], behind: Callable[[], None], *, joined: bool
    ) -> None:
        self._clock = context.clock
        self._watermark = context.send_budget
        self._missed = missed
        self._behind = behind
        self._joined = joined
        self.put_in_all = 0  #: bytes that were ever put, as they count in the send budget
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._pulling = False  # whether `pieces` has begun and not ended: the reader has not taken everything
        self._losing_since: float | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """The bytes that wait, as they count in the send budget."""
        return self._bytes

    def put(self, line: bytes) -> None:
        """Add a line, with its line end."""
        if self._closed:
            return
        self._lines.append(line)
        self._grow(len(line) + OVERHEAD)

    def put_all(self, lines: Collection[bytes]) -> None:
        """Add several lines, each with its line end."""
        if self._closed:
            return
        self._lines.extend(lines)
        self._grow(sum(map(len, lines)) + OVERHEAD * len(lines))

    def _grow(self, size: int) -> None:
        self.put_in_all += size
        self._bytes += size
        self._watermark.change(size)
        if self._bytes > (cap := CAPS[self._watermark.pressure]):
            self._drop(cap)

    def pieces(self) -> Iterator[bytes]:
        """The waiting lines, and those put until the iterator ends. Only one iterator may be active at a time."""
        self._pulling = True
        while self._lines or self._dropped:
            if self._dropped:
                notice, self._dropped = self._missed(self._dropped), 0
                yield notice
            elif self._joined:
                yield self._join()
            else:
                yield self._next()
        self._pulling = False
        self._losing_since = None

    def close(self) -> None:
        """The reader is gone: nothing is kept for it from now on."""
        self._closed = True
        self._clear()

    def _drop(self, cap: int) -> None:
        """Drop the oldest lines; a reader that has taken everything before keeps at least the newest."""
        dropped = 0
        while self._bytes > cap and len(self._lines) > (not self._pulling):
            self._next()
            dropped += 1
        if not dropped:
            return
        self._dropped += dropped
        self._watermark.budget.miss(dropped)
        now = self._clock()
        if self._losing_since is None:
            self._losing_since = now
        elif now - self._losing_since >= BEHIND:
            self._watermark.budget.end_reader()
            self.close()
            self._behind()

    def _join(self) -> bytes:
        size, count = 0, 0
        for line in self._lines:
            if count and size + len(line) > PIECE:
                break
            size += len(line)
            count += 1
        piece = b"".join(islice(self._lines, count))
        for _ in range(count):
            self._lines.popleft()
        self._forget(size + count * OVERHEAD)
        return piece

    def _next(self) -> bytes:
        line = self._lines.popleft()
        self._forget(len(line) + OVERHEAD)
        return line

    def _clear(self) -> None:
        self._lines.clear()
        self._dropped = 0
        self._forget(self._bytes)

    def _forget(self, size: int) -> None:
        self._bytes -= size
        self._watermark.change(-size)


class ReplyOutbox(Outbox):
    """The outbox of a session. A line that is put leaves with the next `flow` or `reply`; a reader that stays behind is
    reset."""

    def __init__(self, context: Context, say: Say, missed: Callable[[int], bytes], *, joined: bool) -> None:
        super().__init__(context, missed, lambda: say(Reply(end=End.RESET)), joined=joined)
        self._say = say

    def flow(self) -> None:
        """Send what waits."""
        reply = self.reply()
        if reply is not NOTHING:
            self._say(reply)

    def reply(self) -> Reply:
        """The waiting lines as a reply; NOTHING if they are being sent already."""
        if self._pulling or not self._lines:
            return NOTHING
        self._pulling = True
        return Reply(more=self.pieces())

    def end(self) -> None:
        """Send what waits, and close."""
        self._say(self.reply()._replace(end=End.CLOSE))
