"""Escaping: all text from peers passes through this module before it is printed or logged."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

SHOWN: Final = 128  #: characters of a peer's text inside a message or a log line


def escaped(text: str) -> str:
    """Return text that is safe to print: one line, without characters that control, hide or reorder.

    Characters that Unicode calls printable are unchanged. Bytes that were not UTF-8 (kept by `surrogateescape`) and
    controls below U+0100 become `\\xNN`, everything else `\\u{N}`.
    """
    return text if text.isprintable() else text.translate(_WRITTEN)


def clipped(text: str, most: int = SHOWN) -> str:
    """Escaped text, cut to `most` characters; then `…` is appended."""
    safe = escaped(text[: most + 1])
    return safe if len(safe) <= most else f"{safe[:most]}…"


def decoded(data: bytes) -> str:
    """Bytes as text that is safe to print."""
    return escaped(data.decode("utf-8", "surrogateescape"))


class _Written(dict[int, str]):
    """The escaped form of each character, by its number. Those of bytes are cached: a peer may send many controls."""

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
    """Convert text from a UTF-8 file for the system calls of this process: they get its bytes in any locale."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def from_system(text: str) -> str:
    """The inverse of `for_system`: convert a command-line argument to text as in a UTF-8 file."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


_RESOLVER: Final = {getattr(socket, name): name for name in sorted(dir(socket)) if name.startswith("EAI_")}
"""The names of the error codes of getaddrinfo(3)."""


def system_error(error: OSError) -> str:
    """The system's message for an error, with its symbolic name: `connection refused (ECONNREFUSED)`.

    The resolver's errors have separate names: `temporary failure in name resolution (EAI_AGAIN)`.
    """
    if isinstance(error, socket.gaierror):
        name = _RESOLVER.get(error.errno)
        if error.errno == socket.EAI_NONAME:
            return f"no such host ({name})"
    else:
        name = errno.errorcode.get(error.errno or 0)
    if name is None:  # not an errno of this system, or not an errno at all
        return escaped(error.strerror or str(error)) or type(error).__name__
    words = error.strerror or os.strerror(error.errno or 0)
    return f"{words[:1].lower()}{words[1:]} ({name})"
