"""`echoctl talk`: a conversation, with the manners of the lessons' clients."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from echod.client.challenges import padded_answer
from echod.client.client_connection import Dialogue, Failed, family_of
from echod.client.stdout import INTERRUPTED, Screen, unreadable
from echod.lineedit.stdin_thread import Input, line_of
from echod.model import CLOSE, NOTHING, End, Peer, Quiet, Reply, Say, Session
from echod.stdio import report

LAST_ANSWERS: Final = 2.0
"""Seconds that the last answers have to come once we have said everything."""
REMEMBERED: Final = 64  #: lines sent: those that may have to be sent again, and those that may come back as they are
LONGEST_LINE: Final = 1 << 20  #: octets: an endless line is sent in pieces of this


class Talk(Quiet):
    """Each line that is typed is sent, an empty one is not; `exit` or the end of input leaves.

    On a stream a line goes out with its line end, as a datagram without. A challenge is answered, and the lines that
    were sent before the first one are sent again: a service that challenges has dropped them.
    """

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        self._reactor = reactor
        self._finish = finish
        self._address = arguments.url
        self._datagram = self._address.shape.keeps_messages
        self._screen = Screen()
        self._input: Input | None = None
        self._line = b""
        self._sent = 0  # lines
        self._lately: deque[bytes] = deque(maxlen=REMEMBERED)  # what was sent as datagrams
        self._answers = 0  # datagrams that came, or lines
        self._proved = False  # whether a first challenge was answered, or none was sent
        self._midway = False  # the last line of the answers is open
        self._leaving = False
        self._deaf = False  # the peer has gone, and what is still read is only counted
        self._say: Say = lambda _reply: None
        self._dialogue = Dialogue(
            reactor, self._address, self._begin, self._over, self._room, family=family_of(arguments)
        )

    def interrupted(self) -> int:
        """Leave at once."""
        self._dialogue.abandon()
        self._screen.end_line()
        return INTERRUPTED

    def _begin(self, _peer: Peer, say: Say) -> Session:
        self._say = say
        return self

    def opened(self) -> Reply:
        """The peer is there."""
        if sys.stdin.isatty():
            report(f"talking to {self._address.place}; `exit` leaves")
        self._input = Input(self._reactor, sys.stdin.fileno(), self._take, self._unreadable)
        self._input.more()
        return NOTHING

    def received(self, data: bytes) -> Reply:
        """An answer came."""
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
        """The peer has ended."""
        self._screen.end_line()
        if not self._leaving:
            report(f"{self._address.place} has ended the conversation")
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

    def _unreadable(self, error: OSError) -> None:
        self._dialogue.abandon()
        self._end(Failed(unreadable(error)))

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
        self._dialogue.abandon()  # or its own end would be told, too
        if failed is None and not self._leaving and not sys.stdin.isatty():
            self._deaf = True
            self._reactor.callLater(LAST_ANSWERS, self._end, None)
        else:
            self._end(failed)

    def _end(self, failed: Failed | None) -> None:
        self._finish(self._screen.settle(failed or self._unanswered()))

    def _unanswered(self) -> Failed | None:
        """In a pipe nobody sees what had no answer. A peer that ends no line may have answered them all in one."""
        missing = self._sent - self._answers - self._midway
        if sys.stdin.isatty() or missing <= 0 or (self._midway and not self._answers):
            return None
        which = "the line" if self._sent == 1 else f"{missing} of {self._sent} lines"
        return Failed(f"{self._address.place}: {which} had no answer")


COMMAND = Talk
