"""Standard input and output of a command: input that never blocks the reactor, output that is safe to look at."""

from __future__ import annotations

import codecs
import os
import re
import select
import sys
from typing import Final

from echod.lineedit import raw_mode
from echod.stdio import die_of_pipe, report
from echod.text import escaped, system_error

INTERRUPTED: Final = 130  #: exit code: 128 + SIGINT


class Screen:
    """Standard output: octets as they are into a pipe or a file; escaped, but for line ends and tabs, for eyes."""

    def __init__(self, *, in_hex: bool = False) -> None:
        self._for_eyes = sys.stdout.isatty()
        self._in_hex = in_hex
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._held = ""  # a CR at the end of what came: its LF may come next
        self._at = 0  # octets shown in hex
        self._midway = False  # a line is open

    def write(self, data: bytes) -> None:
        """Show what came."""
        if self._in_hex:
            self._put(self._hex(data))
        elif self._for_eyes:
            self._see(self._decoder.decode(data))
        else:
            self._put(data)

    def line(self, data: bytes) -> None:
        """Show what came as a line of its own."""
        self.write(data)
        self.end_line(always=True)

    def end_line(self, *, always: bool = False) -> None:
        """End a line that is open, for eyes; `always` in a pipe, too."""
        if self._for_eyes and not self._in_hex:
            self._see(self._decoder.decode(b"", final=True), final=True)
        if self._midway and (always or self._for_eyes):
            self._put(b"\n")

    def settle(self, wrong: Exception | None) -> int:
        """End what is open, say what went wrong, and return the exit code for it."""
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
            text = "".join(chr(octet) if 0x20 <= octet < 0x7F else "." for octet in part)
            lines.append(f"{self._at + begin:08x}  {part.hex(' '):47}  {text}\n")
        self._at += len(data)
        return "".join(lines).encode()

    def _put(self, data: bytes) -> None:
        if data:
            self._midway = not data.endswith(b"\n")
        put(data)


def colored(choice: str) -> bool:
    """Whether to write in colors; "auto" is on a terminal that has them, where nobody objects (no-color.org)."""
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def put(data: bytes) -> None:
    """Write to standard output, all of it; nobody reading there is the end of the program."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]
        except BlockingIOError:  # somebody made it non-blocking: wait, as a blocking one would
            select.select([], [sys.stdout], [])
        except BrokenPipeError:
            raw_mode.restore()
            die_of_pipe()
        except OSError as error:  # in the midst of a conversation, and nothing more to say
            raw_mode.restore()
            fail(f"standard output: {system_error(error)}")
            os._exit(1)


def put_text(text: str) -> None:
    """The same, for text that is escaped already."""
    put(text.encode("utf-8", "backslashreplace"))


def _legible(text: str) -> str:
    ends = text.replace("\r\n", "\n")  # both are line ends
    return "".join(part if part in ("\n", "\t") else escaped(part) for part in re.split(r"([\n\t])", ends))


def unreadable(error: OSError) -> str:
    """Why standard input cannot be read, as one line."""
    return f"standard input: {system_error(error)}"


def fail(text: str) -> None:
    """Report in one line on standard error what went wrong. Never raises."""
    report(f"echoctl: {text}")
