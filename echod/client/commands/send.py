"""`echoctl send`: sends a text, or standard input of any size, and prints the whole reply."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any, Final

from echod.client.client_connection import Failed
from echod.client.input_dialogue import InputDialogue
from echod.model import NOTHING, PLAIN, Arrival, End, Reply

DATAGRAM_TIMEOUT: Final = 5.0  #: seconds: a datagram may be lost


class Send(InputDialogue):
    """On a stream: sends all input, half-closes, prints until the peer closes. Otherwise: one datagram, one reply."""

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        self._keep_open: bool = arguments.keep_open
        self._text = os.fsencode(" ".join(arguments.text)) if arguments.text else None
        self._read: list[bytes] = []  # pieces of standard input, for a datagram
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
        """Print a part of the reply."""
        self._screen.write(data)
        self._progress()
        return Reply(end=End.CLOSE) if self._datagram else NOTHING

    def _end_of_text(self) -> End:
        return End.NOTHING if self._datagram or self._keep_open else End.HALF_CLOSE

    def _take(self, piece: bytes) -> None:
        self._progress()
        if self._datagram:
            self._read.append(piece)
            if piece and self._input is not None:
                self._input.more()
            else:
                self._say(Reply(b"".join(self._read)))
        elif piece:
            self._say(Reply(piece))
            self._room()
        else:
            self._say(Reply(end=self._end_of_text()))

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

    def _too_late(self) -> None:
        self._dialogue.abandon()
        self._end(Failed(f"{self._address.label}: no reply within {self._timeout:g} s (ETIMEDOUT)"))


COMMAND = Send
