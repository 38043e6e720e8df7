"""A dialogue whose requests come from standard input: the common part of `send` and `talk`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from echod.client.client_connection import Dialogue, Failed
from echod.client.stdout import INTERRUPTED, Screen, unreadable
from echod.lineedit.stdin_thread import Input
from echod.model import Peer, Quiet, Say, Session


class InputDialogue(Quiet):
    """Connects, and prints replies on `_screen`. A subclass sets its own attributes before it calls `__init__`.

    Standard input is read after `_read_input`: `_take` gets each piece, and b"" at its end. `_room` is called when
    the connection accepts more. `_over` is called once, at the end, with the error if there is one.
    """

    def __init__(
        self,
        reactor: Any,
        arguments: argparse.Namespace,
        finish: Callable[[int], None],
        *,
        in_hex: bool = False,
    ) -> None:
        self._reactor = reactor
        self._finish = finish
        self._address = arguments.url
        self._datagram = self._address.shape.keeps_messages
        self._screen = Screen(in_hex=in_hex)
        self._input: Input | None = None
        self._say: Say = lambda _reply: None
        self._dialogue = Dialogue(reactor, arguments, self._begin, self._over, self._room)

    def interrupted(self) -> int:
        """End at once; received data is printed already."""
        self._dialogue.abandon()
        self._screen.end_line()
        return INTERRUPTED

    def _begin(self, _peer: Peer, say: Say) -> Session:
        self._say = say
        return self

    def _read_input(self) -> None:
        self._input = Input(self._reactor, sys.stdin.fileno(), self._take, self._unreadable)
        self._input.more()

    def _unreadable(self, error: OSError) -> None:
        self._dialogue.abandon()
        self._end(Failed(unreadable(error)))

    def _end(self, failed: Failed | None) -> None:
        self._finish(self._screen.finish(failed))

    def _over(self, failed: Failed | None) -> None:
        self._end(failed)

    def _take(self, piece: bytes) -> None:
        raise NotImplementedError

    def _room(self) -> None:
        raise NotImplementedError
