"""The one escaper: whatever a peer wrote passes through here before a terminal or a log sees it."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

SHOWN: Final = 128  #: characters of what a peer wrote, wherever people read it among other things


def escaped(text: str) -> str:
    """Text made safe to print: one line, no control character, none that hides or reorders others.

    What Unicode calls printable stays as it is. Octets that were no UTF-8 (kept by `surrogateescape`) and
    controls below U+0100 become `\\xNN`, everything else `\\u{N}`.
    """
    return text if text.isprintable() else text.translate(_WRITTEN)


def clipped(text: str, most: int = SHOWN) -> str:
    """The same, and no more than `most` characters of it, the sign that something is missing not counted."""
    said = escaped(text[: most + 1])
    return said if len(said) <= most else f"{said[:most]}…"


def decoded(data: bytes) -> str:
    """Octets as text that is safe to print."""
    return escaped(data.decode("utf-8", "surrogateescape"))


class _Written(dict[int, str]):
    """What is written for a character, by its number. Octets are remembered: a peer may send nothing but controls."""

    def __missing__(self, code: int) -> str:
        written = _escaped(code)
        if code < 0x100 or 0xDC80 <= code <= 0xDCFF:
            self[code] = written
        return written


_WRITTEN: Final = _Written()


def _escaped(code: int) -> str:
    character = chr(code)
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun: `1 line`, `2 lines`."""
    return f"{number} {one if number == 1 else many}"


def for_system(text: str) -> str:
    """Text that was UTF-8 in a file, as the system calls of this process want it: whatever the locale says of
    encodings, they get its octets."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def from_system(text: str) -> str:
    """The other way: what somebody typed as an argument, as if it stood in a file."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


_RESOLVER: Final = {getattr(socket, name): name for name in sorted(dir(socket)) if name.startswith("EAI_")}
"""The names of what getaddrinfo(3) returns."""


def system_error(error: OSError) -> str:
    """The system's words and its own name for them: `connection refused (ECONNREFUSED)`.

    The resolver's errors have names of their own: `temporary failure in name resolution (EAI_AGAIN)`.
    """
    if isinstance(error, socket.gaierror):
        name = _RESOLVER.get(error.errno)
        if error.errno == socket.EAI_NONAME:
            return f"no such host ({name})"
    else:
        name = errno.errorcode.get(error.errno or 0)
    if name is None:  # somebody else's error, or number: the resolver has its own
        return escaped(error.strerror or str(error)) or type(error).__name__
    words = error.strerror or os.strerror(error.errno or 0)
    return f"{words[:1].lower()}{words[1:]} ({name})"
