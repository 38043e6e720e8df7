"""Performs the Replies of one session: sends them while the peer reads, and then ends the connection as they require.

It is the output half of a Conversation (`echod.transports.conversation`), which has the rules.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Final

from echod.events import Counters
from echod.gate.limits import Limits
from echod.gate.total_buffer import LITTLE, Pressure, Watermark
from echod.model import End, Reply
from echod.transports.layers.layer_interface import StreamTransport

_LAST: Final = (None, None)  # after the last piece of a reply


class ReplyWriter(ABC):
    """Sends replies to `below`. `mark` counts its unsent bytes, and `limits.buffer` bounds them."""

    __slots__ = (
        "_counted",
        "_counters",
        "_end",
        "_endless",
        "_handed",
        "_limits",
        "_mark",
        "_messages",
        "_more",
        "_paused",
        "_pausing",
        "_text",
        "begun",
        "below",
    )  # fmt: skip

    def __init__(self, limits: Limits, counters: Counters, mark: Watermark) -> None:
        self.below: StreamTransport  # after the connection is made, when `begun` is True
        self.begun = False
        self._limits, self._counters, self._mark = limits, counters, mark
        self._messages = False  # whether the transport keeps messages
        self._counted = 0  # unsent bytes that the mark has counted
        self._handed = 0  # bytes given to the transport
        self._text: bool | None = None  # whether the last message came as text
        self._more: Iterator[tuple[bytes, bool | None]] | None = None  # with each piece, whether it is text
        self._endless = False  # whether `_more` is infinite
        self._end = End.NOTHING  # the action after all pending output
        self._pausing, self._paused = True, False  # whether reading may pause, and whether it does

    @abstractmethod
    def _fail(self) -> None:
        """Reset the connection, because the service has raised the exception that is handled now."""

    @abstractmethod
    def _read_on(self) -> None:
        """Resume reading, unless there is another reason to pause."""

    @property
    def bytes_out(self) -> int:
        """Bytes that the kernel has accepted."""
        withheld = self.below.facts.withheld if self.begun else 0
        return max(0, self._handed - self.unsent - withheld)  # an empty message counts as an unsent byte

    @property
    def paused(self) -> bool:
        """Whether reading pauses because too many bytes are unsent."""
        return self._paused

    @property
    def unsent(self) -> int:
        """Bytes given to the transport that the kernel has not accepted."""
        return self.below.unsent if self.begun else 0

    def never_pause(self) -> None:
        """Keep reading with any amount of unsent data. A measuring client must not stop because its own data waits."""
        self._pausing = False

    def hold_back(self, pressure: Pressure) -> None:
        """Set the limit on unsent bytes of this connection by the pressure on the send budget."""
        buffer = self._limits.buffer
        self.below.read_at_once(min(buffer, LITTLE) if pressure is Pressure.FULL else buffer)
        if pressure and self._paused:
            self.below.clamp()
            self._counters.held_back += pressure is Pressure.FULL

    def _count_unsent(self, unsent: int) -> None:
        if unsent != self._counted:
            self._mark.change(unsent - self._counted)
            self._counted = unsent

    def perform(self, reply: Reply) -> None:
        """Perform a reply of the session. After an end, later replies are ignored."""
        if self._end is not End.NOTHING:
            if self._end is not End.HALF_CLOSE:
                return
            reply = Reply(end=reply.end)
        text = self._text if reply.text is None else reply.text
        if reply.data or (reply.data is not None and self._messages):
            if self._more is None:
                self._write(reply.data, text)
            else:
                self._more = chain(self._more, ((reply.data, text),))
        if reply.more is not None:
            self._endless = self._endless or reply.endless
            more = zip(reply.more, repeat(text))
            self._more = more if self._more is None else chain(self._more, more)
        if reply.end is not End.NOTHING:
            self._end = reply.end
        if self._more is not None or reply.end is not End.NOTHING:
            self._proceed()

    def _write(self, data: bytes, text: bool | None) -> None:
        self._handed += len(data)
        self.below.write(data, text)

    def _proceed(self) -> None:
        """Send more of the reply while the peer reads. End after the last piece, if an end is due."""
        try:
            while self._more is not None and not self._paused:
                piece, text = next(self._more, _LAST)
                if piece is None:
                    self._more, self._endless = None, False
                elif piece or self._messages:
                    self._write(piece, text)
        except Exception:
            self._fail()
        if self._end is End.RESET:
            self.below.abort()
        elif self._more is None and self._end is not End.NOTHING:
            self._finish()

    def _finish(self) -> None:
        """Close or finish as `_end` requires, after the transport has all output."""
        if self._end is End.CLOSE:
            self.below.close()
            return
        self.below.finish()
        if self._paused:
            self._paused = False
            self._read_on()
