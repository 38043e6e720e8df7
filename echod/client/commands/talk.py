"""`echoctl talk`: sends each typed line and prints each reply, as the clients in the lessons do."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from echod.client.challenges import padded_answer
from echod.client.client_connection import Failed
from echod.client.input_dialogue import InputDialogue
from echod.lineedit.stdin_thread import line_of
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, End, Reply
from echod.stdio import report

LAST_ANSWERS: Final = 2.0
"""Seconds to wait for the last replies after the last line."""
REMEMBERED: Final = 64  #: recent lines: they may have to be sent again, or may be echoed unchanged
LONGEST_LINE: Final = 1 << 20  #: bytes: a longer line is sent in pieces


class Talk(InputDialogue):
    """Sends each typed line that is not empty; `exit` or the end of input leaves.

    A line is sent with its line end on a stream, and without it as a datagram. Challenges are answered. The lines
    before the first challenge are sent again, because a service that sends challenges has dropped them.
    """

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        self._line = b""
        self._sent = 0  # lines
        self._lately: deque[bytes] = deque(maxlen=REMEMBERED)  # lines sent as datagrams
        self._answers = 0  # received datagrams or lines
        self._proved = False  # the first challenge was answered, or the service sends none
        self._midway = False  # the last received line has no line end yet
        self._leaving = False
        self._deaf = False  # the peer has closed: further input is counted, not sent
        super().__init__(reactor, arguments, finish)

    def opened(self) -> Reply:
        """Connected: start to read lines."""
        if sys.stdin.isatty():
            report(f"talking to {self._address.label}; `exit` leaves")
        self._read_input()
        return NOTHING

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        """Print a reply, or answer a challenge."""
        if self._datagram:
            if data not in self._lately and (answer := padded_answer(data)) is not None:
                self._prove(answer)
                return NOTHING
            self._proved = True
            self._answers += 1
            self._screen.line(data)
            return CLOSE if self._leaving and self._answers >= self._sent else NOTHING
        self._answers += data.count(b"\n")
        self._midway = not data.endswith(b"\n")
        self._screen.write(data)
        return NOTHING

    def ended(self) -> Reply:
        """The peer has closed."""
        self._screen.end_line()
        if not self._leaving:
            report(f"{self._address.label} has ended the conversation")
        return CLOSE

    def _take(self, piece: bytes) -> None:
        if self._leaving:
            return
        *lines, self._line = (self._line + piece).split(b"\n")
        if len(self._line) > LONGEST_LINE or not piece:
            lines.append(self._line)
            self._line = b""
        for line in lines:
            line = line_of(line)
            if line == b"exit":
                self._leave()
                return
            if line:
                self._sent += 1
                if self._deaf:
                    continue
                self._send(line)
        if piece:
            self._room()
        else:
            self._leave()

    def _send(self, line: bytes) -> None:
        if self._datagram:
            self._lately.append(line)
        self._say(Reply(line if self._datagram else line + b"\n"))

    def _prove(self, answer: bytes) -> None:
        self._say(Reply(answer))
        if not self._proved:
            self._proved = True
            for line in self._lately:
                self._say(Reply(line))

    def _leave(self) -> None:
        if self._deaf:
            self._end(None)
            return
        self._leaving = True
        if self._datagram and self._answers >= self._sent:
            self._say(CLOSE)
            return
        if not self._datagram:
            self._say(Reply(end=End.HALF_CLOSE))
        self._reactor.callLater(LAST_ANSWERS, self._over, None)

    def _room(self) -> None:
        if self._input is not None and (self._deaf or not self._dialogue.paused) and not self._leaving:
            self._input.more()

    def _over(self, failed: Failed | None) -> None:
        self._dialogue.abandon()  # or its end would be reported, too
        if failed is None and not self._leaving and not sys.stdin.isatty():
            self._deaf = True
            self._reactor.callLater(LAST_ANSWERS, self._end, None)
        else:
            self._end(failed)

    def _end(self, failed: Failed | None) -> None:
        super()._end(failed or self._unanswered())

    def _unanswered(self) -> Failed | None:
        """The error for lines without a reply; only in a pipe. A reply without line ends may be for all lines."""
        missing = self._sent - self._answers - self._midway
        if sys.stdin.isatty() or missing <= 0 or (self._midway and not self._answers):
            return None
        which = "the line" if self._sent == 1 else f"{missing} of {self._sent} lines"
        return Failed(f"{self._address.label}: {which} got no reply")


COMMAND = Talk
