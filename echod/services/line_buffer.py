"""Lines out of a stream or of datagrams, within the work budget: every line of a peer passes here.

`LineInput` holds what came and hands it out in pieces that end with LF, as many as the work budget allows at a time.
`Lines` joins the pieces of a stream to whole lines and bounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from echod.gate.work_budget import UNIT_BYTES, Portion
from echod.model import Context

LONGEST: Final = 4096  #: octets of one line without its end: what a terminal takes in one (termios(3), canonical mode)
MOST_HELD: Final = 65_536  #: octets of datagrams that one peer may have unprocessed: as many as one read of a stream
WAITS: Final = 1.0  #: seconds that a line may wait for its end before its client is told
HINT: Final = "-- your text waits for a line end: a line ends with LF, or CR LF"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  #: U+FEFF, which editors and shells of Windows put at the start of a text


class LineInput:
    """What a peer sent and its session has not processed. A byte order mark at the start is removed.

    With `messages`, each `add` is one message: it ends its last line, and has a start of its own. What is held counts
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
        """Bytes came. False: they are dropped, because this peer sends datagrams faster than they are processed."""
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
        """The same at the end of the conversation: nothing can be postponed, so at most one portion is left to do."""
        if not self._started:  # it was no byte order mark
            self._started = True
            self._data = self._start
        yield from self._pieces(self._work.portion(last=True))

    def close(self) -> None:
        """The conversation is over: nothing is held any more."""
        self._data, self._at = b"", 0
        self._count(0)

    def spend(self, units: int) -> None:
        """Count further units for the last piece: the session had more work with it than most have."""
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
    """Cuts what comes at LF or CR LF. A line above LONGEST comes as None, once, and its octets are not kept."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._skipping = False

    @property
    def has_begun(self) -> bool:
        """Whether a line has begun that has not ended."""
        return bool(self._line) or self._skipping

    def take(self, piece: bytes) -> bytes | None:
        """The line that this piece completes: b"" if it completes none. A piece has at most one LF, at its end."""
        ends = piece.endswith(b"\n")
        if ends and not self.has_begun and len(piece) <= LONGEST:  # most are: it came as a whole
            return piece[:-1].removesuffix(b"\r")
        part = piece[:-1] if ends else piece
        too_long = self._add(part)
        line = self.last() if ends else b""
        return None if too_long else line

    def last(self) -> bytes:
        """What came behind the last line end: at the end of a stream or of a datagram it is a line, too."""
        line = bytes(self._line).removesuffix(b"\r")
        self._line.clear()
        self._skipping = False
        return line

    def _add(self, part: bytes) -> bool:
        """Keep a part of a line; True if the line has become too long with it."""
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
    """Tells a client once that its text waits for a line end: some terminals and programs end lines with CR alone.

    `waits` says whether a line has begun, `tell` sends the hint. Both are asked WAITS seconds after a line began.
    """

    def __init__(self, context: Context, waits: Callable[[], bool], tell: Callable[[], None]) -> None:
        self._context = context
        self._waits = waits
        self._tell = tell
        self._since: float | None = None
        self._scheduled = False
        self._asking = False  # whether `later` is being called
        self._told = False

    def look(self) -> None:
        """Input was processed."""
        if self._told or not self._waits():
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
        if self._asking or self._since is None or not self._waits():  # called at once: nothing can be postponed
            return
        left = WAITS - (self._context.clock() - self._since)
        if left > 0:  # a later line
            self._schedule(left)
        else:
            self._told = True
            self._tell()
