"""Lines out of a stream or of datagrams, within the work budget: every line of a peer passes here.

`LineInput` holds what came and hands it out in pieces that end with LF, as many as the work budget allows at a time.
`Lines` joins the pieces of a stream to whole lines and bounds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from echod.gate.work_budget import Portion, WorkBudget

LONGEST: Final = 4096  #: octets of one line without its end: what a terminal takes in one (termios(3), canonical mode)
MOST_HELD: Final = 65_536  #: octets of datagrams that one peer may have unprocessed: as many as one read of a stream
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  #: U+FEFF, which editors and shells of Windows put at the start of a text


class LineInput:
    """What a peer sent and its session has not processed. A byte order mark at the start is removed.

    With `messages`, each `add` is one message: it ends its last line, and has a start of its own.
    """

    def __init__(self, work: WorkBudget, *, messages: bool) -> None:
        self._work = work
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
        portion = self._portion = self._work.portion()
        while self.held and portion.take():
            yield self._piece()

    def rest(self) -> Iterator[bytes]:
        """The same at the end of the conversation: nothing can be postponed, so at most one portion is left to do."""
        if not self._started:  # it was no byte order mark
            self._started = True
            self._data = self._start
        portion = self._portion = self._work.portion(last=True)
        while self.held and portion.take():
            yield self._piece()

    def spend(self, units: int) -> None:
        """Count further units for the last piece: the session had more work with it than most have."""
        if self._portion is not None:
            self._portion.spend(units)

    def _piece(self) -> bytes:
        end = self._data.find(b"\n", self._at) + 1 or len(self._data)
        piece = self._data[self._at : end]
        self._at = end
        return piece


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
