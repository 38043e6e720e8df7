"""Reads lines while other lines are printed: with a line editor on a terminal, plain from a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from echod.lineedit.editor import ERASE, Editor, EndOfInput
from echod.lineedit.raw_mode import KeyByKey, columns
from echod.lineedit.stdin_thread import Input, line_of

LONGEST: Final = 65_536  #: bytes of a line from a pipe: a longer line is returned in pieces


class InteractiveInput:
    """Standard input, line by line, and output that does not disturb it.

    `put` writes text to standard output. `line` is called with each typed line, and `end` at the end of input. `failed`
    is called with the error if standard input cannot be read. `begun` is called with True if the line has text, and
    with False if it is empty. `prompt` is drawn before the line, on a terminal only.
    """

    def __init__(
        self,
        reactor: Any,
        put: Callable[[str], object],
        line: Callable[[str], object],
        end: Callable[[], None],
        *,
        prompt: Callable[[], str] = lambda: "> ",
        begun: Callable[[bool], None] = lambda _begun: None,
        failed: Callable[[OSError], None] | None = None,
    ) -> None:
        self.edits = is_terminal()
        self._reactor = reactor
        self._put = put
        self._line = line
        self._end = end
        self._begun = begun
        self._failed = failed
        self._editor = Editor(prompt)
        self._modes = KeyByKey(sys.stdin.fileno(), self._draw, lambda: put(ERASE))
        self._rest = b""
        self._input: Input | None = None
        self._over = False

    def start(self) -> None:
        """Start to read. Does nothing if reading has started."""
        if self._input is not None or self._over:
            return
        if self.edits:
            self._modes.begin()
        self._input = Input(self._reactor, sys.stdin.fileno(), self._take, self._unreadable)
        self._input.more()

    def stop(self) -> None:
        """Stop reading, and restore the terminal."""
        if not self._over:
            self._over = True
            if self.edits and self._input is not None:
                self._modes.end()

    def show(self, text: str) -> None:
        """Print a line, above the line being typed. The text must be escaped."""
        self._put(self.dressed(text))

    def dressed(self, text: str) -> str:
        """The text that prints a line above the line being typed, if a line editor is active."""
        if not self.edits or self._over or self._input is None:
            return f"{text}\n"
        return f"{ERASE}{text}\n{self._editor.drawn(columns())}"

    def _draw(self) -> None:
        self._put(self._editor.drawn(columns()))

    def _take(self, piece: bytes) -> None:
        if self._over:
            return
        if self.edits:
            self._keys(piece)
        else:
            self._plain(piece)
        if piece and not self._over and self._input is not None:
            self._input.more()

    def _unreadable(self, error: OSError) -> None:
        if self._over:
            return
        if self._failed is None:
            self._end()
        else:
            self._failed(error)

    def _keys(self, piece: bytes) -> None:
        if not piece:
            self._end()
            return
        for line in self._editor.feed(piece):
            if isinstance(line, EndOfInput):
                self._end()
            else:
                self._line(line)
                self._begun(False)
            if self._over:
                return
        self._begun(not self._editor.empty)
        self._draw()

    def _plain(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if self._rest and (not piece or len(self._rest) > LONGEST):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._line(line_of(line).decode("utf-8", "surrogateescape"))
            if self._over:
                return
        if not piece:
            self._end()


def is_terminal() -> bool:
    """Whether standard input and output are both a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()
