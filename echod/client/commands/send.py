"""`echoctl send`: sends a text, or standard input of any size, and prints the whole reply."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from echod.client.client_connection import Dialogue, Failed
from echod.client.stdout import INTERRUPTED, Screen, unreadable
from echod.lineedit.stdin_thread import Input
from echod.model import NOTHING, PLAIN, Arrival, End, Peer, Quiet, Reply, Say, Session

DATAGRAM_TIMEOUT: Final = 5.0  #: seconds: a datagram may be lost


class Send(Quiet):
    """On a stream: sends all input, half-closes, prints until the peer closes. Otherwise: one datagram, one reply."""

    def __init__(self, reactor: Any, arguments: argparse.Namespace, finish: Callable[[int], None]) -> None:
        self._reactor = reactor
        self._finish = finish
        self._address = arguments.url
        self._datagram = self._address.shape.keeps_messages
        self._keep_open: bool = arguments.keep_open
        self._screen = Screen(in_hex=arguments.hex)
        self._text = os.fsencode(" ".join(arguments.text)) if arguments.text else None
        self._input: Input | None = None
        self._read: list[bytes] = []  # pieces of standard input, for a datagram
        self._say: Say = lambda _reply: None
        timeout = arguments.timeout
        self._timeout = DATAGRAM_TIMEOUT if timeout is None and self._datagram else timeout
        self._deadline: Any = None
        self._progress()  # the timeout covers name lookup and connecting
        self._dialogue = Dialogue(reactor, arguments, self._begin, self._over, self._room)

    def interrupted(self) -> int:
        """End at once; received data is printed already."""
        self._dialogue.abandon()
        self._screen.end_line()
        return INTERRUPTED

    def _begin(self, _peer: Peer, say: Say) -> Session:
        self._say = say
        self._progress()
        return self

    def opened(self) -> Reply:
        """Connected: start to send."""
        if self._text is not None:
            return Reply(self._text, self._end_of_text())
        self._input = Input(self._reactor, sys.stdin.fileno(), self._take, self._unreadable)
        self._input.more()
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

    def _unreadable(self, error: OSError) -> None:
        self._dialogue.abandon()
        self._over(Failed(unreadable(error)))

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
        self._over(Failed(f"{self._address.label}: no reply within {self._timeout:g} s (ETIMEDOUT)"))

    def _over(self, failed: Failed | None) -> None:
        self._finish(self._screen.finish(failed))


COMMAND = Send
