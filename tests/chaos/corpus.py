"""Hostile texts that try to reach a terminal or a log, and the checks whether one did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

MIB: Final = 1 << 20
LINE_FEED: Final = b"\n"

_BIDI: Final = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_UNSEEN: Final = (0x00AD, 0x180E, *range(0x200B, 0x200E), 0x2028, 0x2029, 0x2060, 0xFEFF, 0xFFF9, 0xE0041)

CORPUS: Final = (
    *(bytes([byte]) for byte in range(256) if byte != 0x0A),  # C0, DEL, and bytes that are not UTF-8 alone
    *(chr(code).encode() for code in (*range(0x80, 0xA0), *_UNSEEN, *_BIDI, 0x3000)),  # C1 first
    b"\x1b]0;owned\x07",  # a title
    b"\x1b]8;;http://example.invalid/\x1b\\here\x1b]8;;\x1b\\",  # a link
    b"\x1b[2J\x1b[1;1H",
    b"\x1b[31m2026-01-01T00:00:00.000Z critical it is all over\x1b[0m",
    b'\x1bP$q"p\x1b\\',  # a query: the terminal would reply as if a user had typed
    b"\x9b31m",
    b"\xc2\x9b31m",
    b"gone\r2026-01-01T00:00:00.000Z info nothing happened",
    b"\x08\x08\x08\x08",
    b"\xed\xa0\x80",  # a surrogate
    b"\xc0\x8a",  # a line feed, overlong
    b"\xf4\x90\x80\x80",  # beyond Unicode
    b"\xff\xfe\x0d\x00",  # UTF-16
    "\u202etxt.exe\u2066\u2069".encode(),
    b"%s%n{0}{peer}{log_failure}\\x0a\\n",  # format fields and escapes, which must stay text
    b"a" * 4000,
)
"""Control characters, characters that hide or reorder text, terminal sequences, and invalid UTF-8. None contains a line
feed; text that may contain one is in NAMES."""

NAMES: Final = (*CORPUS, b"one\ntwo", b"\n\x1b[31mcritical it is all over")
"""The same for a client that chooses the name of its socket: the name may contain line feeds."""


def illegible(data: bytes) -> list[bytes]:
    """The lines of these bytes that are not UTF-8, or contain a character that is not printable."""
    return [line for line in data.split(LINE_FEED) if not _legible(line)]


def illegible_texts(value: Any) -> list[str]:
    """The same for each text in a parsed JSON document, including keys."""
    return [text for text in _texts(value) if not text.isprintable()]


def illegible_json(lines: Iterable[bytes]) -> list[bytes]:
    """The lines that are not printable, are not JSON, or contain a text that is not printable."""
    return [line for line in lines if not _legible(line) or _is_no_json(line) or illegible_texts(json.loads(line))]


def illegible_entries(entries: Iterable[bytes]) -> list[bytes]:
    """The journal entries with a field that is not printable, or that are not exactly one message."""
    return [
        entry
        for entry in entries
        if illegible(entry)
        or not re.fullmatch(rb"([A-Z][A-Z0-9_]*=[^\n]*\n)+", entry)
        or len(re.findall(rb"(?m)^MESSAGE=", entry)) != 1
    ]


def _legible(line: bytes) -> bool:
    try:
        return line.decode("utf-8", "strict").isprintable()
    except UnicodeDecodeError:
        return False


def _is_no_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from (str(name), *_texts(each))
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
