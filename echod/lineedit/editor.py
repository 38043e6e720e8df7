"""A line editor that is not disturbed by other output. Pure: takes keys as bytes, returns lines and text to draw.

The terminal must support two sequences of ECMA-48: erase in line, and cursor right. All common terminals do.
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final

from wcwidth import wcswidth

LONGEST: Final = 4000  #: characters of one line
REMEMBERED: Final = 500  #: lines in the history
ERASE: Final = "\r\x1b[K"  #: go to column 1 and erase the line (ECMA-48 8.3.41, EL)

_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O[@-~]|[^\[O])")
_UNFINISHED: Final = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*|O)?")
_LONGEST_SEQUENCE: Final = 32  #: characters: a longer sequence is not a key


class EndOfInput(Enum):
    """The end of input, which is Ctrl-D on an empty line."""

    OF_INPUT = "end"


class Editor:
    """One line with a cursor, and a history. `prompt` returns the text drawn before the line."""

    def __init__(self, prompt: Callable[[], str]) -> None:
        self._prompt = prompt
        self._text: list[str] = []
        self._at = 0
        self._history: deque[str] = deque(maxlen=REMEMBERED)
        self._index = 0  # in the history; its length means the line that is being typed
        self._kept = ""  # the line being typed, while a line of the history is shown
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._keys = ""

    @property
    def empty(self) -> bool:
        """Whether the line is empty."""
        return not self._text

    def feed(self, data: bytes) -> Iterator[str | EndOfInput]:
        """Process pressed keys; yields finished lines and the end of input."""
        self._keys += self._decoder.decode(data)
        while self._keys:
            sequence = _SEQUENCE.match(self._keys)
            if sequence is not None:
                key = sequence[0]
            elif _UNFINISHED.fullmatch(self._keys) and len(self._keys) < _LONGEST_SEQUENCE:
                return
            else:
                key = self._keys[0]
            self._keys = self._keys[len(key) :]
            if key in "\r\n":
                yield self._enter()
            elif key == "\x04" and not self._text:
                yield EndOfInput.OF_INPUT
            else:
                self._press(key)

    def drawn(self, columns: int) -> str:
        """The text that draws prompt and line, cut around the cursor to fit in `columns`."""
        prompt = self._prompt()
        room = max(columns - 1 - width(prompt), 8)
        begin = self._at
        while begin > 0 and width("".join(self._text[begin - 1 : self._at])) <= room // 2:
            begin -= 1
        if width("".join(self._text[: self._at])) <= room:
            begin = 0
        end = begin
        while end < len(self._text) and width("".join(self._text[begin : end + 1])) <= room:
            end += 1
        left = width(prompt) + width("".join(self._text[begin : self._at]))
        return f"{ERASE}{prompt}{''.join(self._text[begin:end])}\r" + (f"\x1b[{left}C" if left else "")

    def _enter(self) -> str:
        line = "".join(self._text)
        if line and (not self._history or self._history[-1] != line):
            self._history.append(line)
        self._show("")
        self._index = len(self._history)
        return line

    def _press(self, key: str) -> None:
        action = _ACTIONS.get(key)
        if action is not None:
            action(self)
        elif len(key) == 1 and key.isprintable() and len(self._text) < LONGEST:
            self._text.insert(self._at, key)
            self._at += 1

    def _show(self, line: str) -> None:
        self._text = list(line)
        self._at = len(self._text)

    def _left(self) -> None:
        self._at = max(0, self._at - 1)
        while self._at and self._within_a_character():
            self._at -= 1

    def _right(self) -> None:
        self._at = min(len(self._text), self._at + 1)
        while self._at < len(self._text) and self._within_a_character():
            self._at += 1

    def _within_a_character(self) -> bool:
        """Whether the next code point is part of the previous character: a mark, or a variation selector."""
        before, next_ = self._text[self._at - 1 : self._at + 1]
        return width(next_) == 0 or width(before + next_) < width(before) + width(next_)

    def _home(self) -> None:
        self._at = 0

    def _end(self) -> None:
        self._at = len(self._text)

    def _rub_out(self) -> None:
        if self._at:
            self._at -= 1
            del self._text[self._at]

    def _delete(self) -> None:
        del self._text[self._at : self._at + 1]

    def _kill_left(self) -> None:
        del self._text[: self._at]
        self._at = 0

    def _kill_right(self) -> None:
        del self._text[self._at :]

    def _kill_word(self) -> None:
        begin = self._at
        while begin and self._text[begin - 1] == " ":
            begin -= 1
        while begin and self._text[begin - 1] != " ":
            begin -= 1
        del self._text[begin : self._at]
        self._at = begin

    def _up(self) -> None:
        if self._index:
            if self._index == len(self._history):
                self._kept = "".join(self._text)
            self._index -= 1
            self._show(self._history[self._index])

    def _down(self) -> None:
        if self._index < len(self._history):
            self._index += 1
            self._show(self._kept if self._index == len(self._history) else self._history[self._index])


def width(text: str) -> int:
    """The width of printable text in columns: two for wide characters and emoji, zero for combining marks."""
    return max(0, wcswidth(text))


_ACTIONS: Final[dict[str, Callable[[Editor], None]]] = {
    **dict.fromkeys(("\x02", "\x1b[D", "\x1bOD"), Editor._left),
    **dict.fromkeys(("\x06", "\x1b[C", "\x1bOC"), Editor._right),
    **dict.fromkeys(("\x01", "\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), Editor._home),
    **dict.fromkeys(("\x05", "\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), Editor._end),
    **dict.fromkeys(("\x10", "\x1b[A", "\x1bOA"), Editor._up),
    **dict.fromkeys(("\x0e", "\x1b[B", "\x1bOB"), Editor._down),
    **dict.fromkeys(("\x7f", "\x08"), Editor._rub_out),
    **dict.fromkeys(("\x04", "\x1b[3~"), Editor._delete),
    "\x15": Editor._kill_left,
    "\x0b": Editor._kill_right,
    "\x17": Editor._kill_word,
}
"""The same keys as in readline."""
