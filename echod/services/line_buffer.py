"""Splits streams and datagrams into lines, within the work budget. All services with lines use it.

`LineInput` holds received data and returns it in pieces that end with LF, as many as the work budget allows at a time.
`Lines` joins the pieces of a stream to lines and bounds their length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from echod.gate.work_budget import UNIT_BYTES, Portion
from echod.model import Context

LONGEST: Final = 4096  #: bytes of a line without its end, as in a terminal's canonical mode (termios(3))
MOST_HELD: Final = 65_536  #: bytes of datagrams that one peer may have unprocessed: as many as one read of a stream
WAITS: Final = 1.0  #: seconds after which a client gets a message that its line has no end
HINT: Final = "-- your text waits for a line end: a line ends with LF, or CR LF"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  #: U+FEFF, which editors and shells of Windows write at the start of a text


class LineInput:
    """Received data that the session has not processed yet. A byte order mark at the start is removed.

    With `messages`, each `add` is one message: it ends its last line, and has a start of its own. Held data counts
    in the send budget: above it, less is read from each connection.
    """

    def __init__(self, context: Context, *, messages: bool) -> None:
        self._work = context.work
        self._watermark = context.send_budget
        self._counted = 0  # bytes that the send budget knows of
        self._messages = messages
        self._data = b""
        self._at = 0
        self._started = messages  # whether the start of the stream has been seen
        self._start = b""  # of a stream, as long as it may become a byte order mark
        self._portion: Portion | None = None

    @property
    def held(self) -> bool:
        """Whether unprocessed input is left."""
        return self._at < len(self._data)

    def add(self, data: bytes) -> bool:
        """Add received data. Returns False if it is dropped: datagrams arrive faster than they are processed."""
        if self._messages:
            if self.held and len(self._data) - self._at + len(data) > MOST_HELD:
                return False
            data = data.removeprefix(BYTE_ORDER_MARK)
            data = data if data.endswith(b"\n") or not data else data + b"\n"
        elif not self._started:
            data = self._start + data
            if len(data) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(data):
                self._start = data
                return True
            self._started = True
            data = data.removeprefix(BYTE_ORDER_MARK)
        self._data = self._data[self._at :] + data
        self._at = 0
        return True

    def pieces(self) -> Iterator[bytes]:
        """Pieces of the input, each up to and with its LF, while the budget lasts; the last one may have no LF."""
        yield from self._pieces(self._work.portion())
        if not self.held:
            self._data, self._at = b"", 0
        self._count(len(self._data))  # the whole read is in memory until the last of it is processed

    def rest(self) -> Iterator[bytes]:
        """The last pieces, at the end of the conversation: at most one portion, as they cannot be postponed."""
        if not self._started:  # the start was not a byte order mark
            self._started = True
            self._data = self._start
        yield from self._pieces(self._work.portion(last=True))

    def close(self) -> None:
        """Release all data at the end of the conversation."""
        self._data, self._at = b"", 0
        self._count(0)

    def spend(self, units: int) -> None:
        """Count further units of work for the last piece, if it caused more work than usual."""
        if self._portion is not None:
            self._portion.spend(units)

    def _pieces(self, portion: Portion) -> Iterator[bytes]:
        self._portion = portion
        while self.held and portion.take():
            end = self._data.find(b"\n", self._at) + 1 or len(self._data)
            piece = self._data[self._at : end]
            self._at = end
            if len(piece) >= UNIT_BYTES:
                portion.spend(len(piece) // UNIT_BYTES)
            yield piece

    def _count(self, size: int) -> None:
        if size != self._counted:
            self._watermark.change(size - self._counted)
            self._counted = size


class Lines:
    """Splits data at LF or CR LF. A line above LONGEST is returned as None, once, and its bytes are dropped."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._skipping = False

    @property
    def has_begun(self) -> bool:
        """Whether a line has started but not ended."""
        return bool(self._line) or self._skipping

    def take(self, piece: bytes) -> bytes | None:
        """The line that this piece completes: b"" if it completes none. A piece has at most one LF, at its end."""
        ends = piece.endswith(b"\n")
        if ends and not self.has_begun and len(piece) <= LONGEST:  # the common case: a whole line
            return piece[:-1].removesuffix(b"\r")
        part = piece[:-1] if ends else piece
        too_long = self._add(part)
        line = self.last() if ends else b""
        return None if too_long else line

    def last(self) -> bytes:
        """The text after the last line end: at the end of a stream or of a datagram it is a line, too."""
        line = bytes(self._line).removesuffix(b"\r")
        self._line.clear()
        self._skipping = False
        return line

    def _add(self, part: bytes) -> bool:
        """Add a part of a line. Returns True if the line has become too long."""
        if self._skipping:
            return False
        size = len(self._line) + len(part)
        if size > LONGEST + 1 or (size == LONGEST + 1 and not (part or self._line).endswith(b"\r")):
            self._skipping = True
            self._line.clear()
            return True
        self._line += part
        return False


class LineHint:
    """Tells a client once that its line has no line end: some terminals and programs send CR alone.

    `waits` returns whether a line has started; `tell` sends the hint. They are called WAITS seconds after its start.
    """

    def __init__(self, context: Context, waits: Callable[[], bool], tell: Callable[[], None]) -> None:
        self._context = context
        self._waits = waits
        self._tell = tell
        self._since: float | None = None
        self._scheduled = False
        self._asking = False  # whether `later` is being called
        self._reported = False

    def check(self) -> None:
        """Start or stop the timer after input was processed."""
        if self._reported or not self._waits():
            self._since = None
        elif self._since is None:
            self._since = self._context.clock()
            self._schedule()

    def _schedule(self, seconds: float = WAITS) -> None:
        if not self._scheduled:
            self._scheduled = self._asking = True
            self._context.later(seconds, self._check)
            self._asking = False

    def _check(self) -> None:
        self._scheduled = False
        if self._asking or self._since is None or not self._waits():  # `later` called it at once: it cannot postpone
            return
        left = WAITS - (self._context.clock() - self._since)
        if left > 0:  # a later line
            self._schedule(left)
        else:
            self._reported = True
            self._tell()
