"""Standard output of a command: raw in a pipe, escaped on a terminal."""

from __future__ import annotations

import codecs
import os
import re
import select
import sys
from typing import Final

from echod.escaping import escaped, system_error
from echod.lineedit import raw_mode
from echod.stdio import die_of_pipe, report

INTERRUPTED: Final = 130  #: exit code: 128 + SIGINT


class Screen:
    """Standard output: received bytes into a pipe or file; on a terminal escaped text, except line ends and tabs."""

    def __init__(self, *, in_hex: bool = False) -> None:
        self._on_terminal = sys.stdout.isatty()
        self._in_hex = in_hex
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._held = ""  # a CR at the end of the data: its LF may follow
        self._at = 0  # offset of the next byte shown in hex
        self._midway = False  # the current line has no line end yet

    def write(self, data: bytes) -> None:
        """Print received data."""
        if self._in_hex:
            self._put(self._hex(data))
        elif self._on_terminal:
            self._see(self._decoder.decode(data))
        else:
            self._put(data)

    def line(self, data: bytes) -> None:
        """Print received data as one line."""
        self.write(data)
        self.end_line(always=True)

    def end_line(self, *, always: bool = False) -> None:
        """End an unfinished line on a terminal; with `always`, also in a pipe."""
        if self._on_terminal and not self._in_hex:
            self._see(self._decoder.decode(b"", final=True), final=True)
        if self._midway and (always or self._on_terminal):
            self._put(b"\n")

    def finish(self, wrong: Exception | None) -> int:
        """End an unfinished line, report the error if there is one, and return the exit code."""
        self.end_line()
        if wrong is not None:
            fail(str(wrong))
        return 0 if wrong is None else 1

    def _see(self, text: str, *, final: bool = False) -> None:
        text = self._held + text
        self._held = "\r" if text.endswith("\r") and not final else ""
        shown = _legible(text.removesuffix(self._held) if self._held else text)
        self._put(shown.encode("utf-8", "backslashreplace"))

    def _hex(self, data: bytes) -> bytes:
        lines = []
        for begin in range(0, len(data), 16):
            part = data[begin : begin + 16]
            text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
            lines.append(f"{self._at + begin:08x}  {part.hex(' '):47}  {text}\n")
        self._at += len(data)
        return "".join(lines).encode()

    def _put(self, data: bytes) -> None:
        if data:
            self._midway = not data.endswith(b"\n")
        put(data)


def colored(choice: str) -> bool:
    """Whether to use colors. "auto" uses them on a terminal, unless NO_COLOR is set (no-color.org) or TERM is dumb."""
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write_all(data: bytes) -> None:
    """Write all of `data` to standard output. Raises OSError.

    It has no buffer. Therefore a signal's handler may call it while the interrupted code does.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]
        except BlockingIOError:  # another process made it non-blocking: wait
            select.select([], [sys.stdout], [])


def put(data: bytes) -> None:
    """Write all of `data` to standard output. The program ends if its reader has closed it, or at an error."""
    try:
        write_all(data)
    except BrokenPipeError:
        raw_mode.restore()
        die_of_pipe()
    except OSError as error:  # nothing more can be printed
        raw_mode.restore()
        fail(f"standard output: {system_error(error)}")
        os._exit(1)


def put_text(text: str) -> None:
    """Write text that is escaped already."""
    put(text.encode("utf-8", "backslashreplace"))


def _legible(text: str) -> str:
    ends = text.replace("\r\n", "\n")  # both are line ends
    return "".join(part if part in ("\n", "\t") else escaped(part) for part in re.split(r"([\n\t])", ends))


def unreadable(error: OSError) -> str:
    """The error message for standard input that cannot be read."""
    return f"standard input: {system_error(error)}"


def fail(text: str) -> None:
    """Print an error message as one line on standard error. Never raises."""
    report(f"echoctl: {text}")
