"""`echoctl send`: sends a text, or standard input of any size, and prints the whole reply."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from echod.client.client_connection import Failed
from echod.client.input_dialogue import InputDialogue
from echod.model import CLOSE, NOTHING, PLAIN, Arrival, End, Reply

DATAGRAM_TIMEOUT: Final = 5.0  #: seconds: a datagram may be lost
CLOSES_WITHIN: Final = 1.0  #: seconds that a peer which keeps messages has to close after its reply


class Send(InputDialogue):
    """On a stream: sends all input, half-closes, prints until the peer closes. Otherwise: one datagram, one reply."""

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        self._keep_open: bool = arguments.keep_open
        self._text = os.fsencode(" ".join(arguments.text)) if arguments.text else None
        self._read: list[bytes] = []  # pieces of standard input, for a datagram
        self._has_reply = False  # the reply to a message
        self._peer_ended = False
        self._any_read = False  # standard input has had data
        self._all_read = self._text is not None  # no more input will be sent; of messages: it was sent
        self._deadline: Any = None
        self._timeout: float | None = arguments.timeout
        if self._timeout is None and arguments.url.shape.keeps_messages:
            self._timeout = DATAGRAM_TIMEOUT
        super().__init__(reactor, arguments, finish, in_hex=arguments.hex)
        self._progress()  # the timeout covers name lookup and connecting

    def opened(self) -> Reply:
        """Connected: start to send."""
        self._progress()
        if self._text is not None:
            return Reply(self._text, self._end_of_text())
        self._read_input()
        return NOTHING

    def received(self, data: bytes, arrival: Arrival = PLAIN) -> Reply:
        """Print a part of the reply. A message before ours, such as a greeting, is not the reply."""
        self._screen.write(data)
        self._has_reply = self._datagram and self._all_read
        if self._has_reply:
            self._timeout = CLOSES_WITHIN
        self._progress()
        return CLOSE if self._has_reply else NOTHING

    def ended(self) -> Reply:
        """The peer has finished. It may still read, so all of a file or pipe is sent, unless it has no data yet.

        If the peer has closed instead, the kernel refuses the rest, and that is an error. So is a message of which a
        part was read: it is not sent any more.
        """
        self._peer_ended = True
        has_data = self._input is not None and not sys.stdin.isatty() and (self._any_read or self._input.has_data)
        self._all_read = self._all_read or not has_data
        return CLOSE if self._all_read or self._datagram else NOTHING

    def _end_of_text(self) -> End:
        return End.NOTHING if self._datagram or self._keep_open else End.HALF_CLOSE

    def _take(self, piece: bytes) -> None:
        self._progress()
        self._any_read = self._any_read or bool(piece)
        if self._datagram:
            self._read.append(piece)
            if piece and self._input is not None:
                self._input.more()
            else:
                self._all_read = True
                self._say(Reply(b"".join(self._read)))
        elif piece:
            self._say(Reply(piece))
            self._room()
        else:
            self._all_read = True
            self._say(CLOSE if self._peer_ended else Reply(end=self._end_of_text()))

    def _room(self) -> None:
        self._progress()
        if self._input is not None and not self._dialogue.paused:
            self._input.more()

    def _progress(self) -> None:
        """Data was sent or received: restart the timeout."""
        if self._timeout is None:
            return
        if self._deadline is not None and self._deadline.active():
            self._deadline.reset(self._timeout)
        else:
            self._deadline = self._reactor.callLater(self._timeout, self._too_late)

    def _over(self, failed: Failed | None) -> None:
        if self._peer_ended and not self._all_read and (failed is None or not self._datagram):
            failed = Failed(f"{self._address.label}: the peer closed before all of standard input was sent")
        super()._over(failed)

    def _too_late(self) -> None:
        self._dialogue.abandon()
        late = Failed(f"{self._address.label}: no reply within {self._timeout:g} s (ETIMEDOUT)")
        self._end(None if self._has_reply else late)


COMMAND = Send
