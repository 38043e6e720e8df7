"""Finds the line of each key in a TOML document, for error messages; tomllib returns values without positions.

It reads only documents that tomllib has accepted, so it does not validate them. It runs only after an error was found.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from echod.config.errors import LocatedError, element, joined
from echod.config.settings import Configuration

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}' r"|'''(?:[^']|'(?!''))*'{3,5}" r'|"(?:[^"\\]|\\.)*"' r"|'[^']*'", re.DOTALL
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def line_numbers(text: str, paths: Collection[str]) -> dict[str, int]:
    """The line, counted from 1, of each of `paths`; paths that the document does not have are left out.

    Paths have the form of `joined` and `element`. `text` must be valid TOML.
    """
    document = _Document(text, paths)
    with suppress(RecursionError):  # tomllib recurses deeper, but may have started with a shallower stack
        document.read()
    return document.lines


def located(errors: Iterable[LocatedError], texts: Mapping[Path, str]) -> list[LocatedError]:
    """The errors with the line of each key, if its file is in `texts`. A missing key gets the line of its table."""
    errors = list(errors)
    paths: dict[Path, set[str]] = {}
    for error in errors:
        if error.line is None and error.file in texts:
            paths.setdefault(error.file, set()).update(_and_outer(error.path))
    lines = {file: line_numbers(texts[file], wanted) for file, wanted in paths.items()}

    def line(error: LocatedError) -> int | None:
        known = lines.get(error.file, {})
        return next((known[path] for path in _and_outer(error.path) if path in known), error.line)

    return [replace(error, line=line(error)) for error in errors]


def error_at(configuration: Configuration, key: str, text: str) -> LocatedError:
    """An error of a configured key, with its file and line."""
    (file, *_) = configuration.origins[key]
    [error] = located([LocatedError(file, key, text)], configuration.texts)
    return error


def _and_outer(path: str) -> Iterator[str]:
    """A path, then the paths around it: `a.b[1]`, `a.b`, `a`."""
    while path:
        yield path
        path = path[: max(path.rfind("."), path.rfind("["), 0)]


class _Document:
    """One pass over the text. Paths longer than every wanted one are never built: a key may have 1 MiB of parts."""

    def __init__(self, text: str, paths: Collection[str]) -> None:
        self.lines: dict[str, int] = {}
        self._text = text
        self._wanted = frozenset(paths)
        self._longest = max(map(len, self._wanted), default=-1)
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._implied: set[str] = set()  # tables without a header so far, implied by their keys
        self._elements: dict[str, int] = {}  # number of tables so far in each array of tables
        self._at = 0

    def read(self) -> None:
        """Read the whole document and fill `lines`."""
        table: str | None = ""
        while self._skip(_BLANK) < len(self._text):
            table = self._statement(table)

    def _statement(self, table: str | None) -> str | None:
        """Read a header or an assignment at the current position. Returns the path of the current table."""
        if self._text[self._at] != "[":
            self._assignment(table)
            return table
        line, array = self._line(), self._text.startswith("[[", self._at)
        self._at += 2 if array else 1
        *outer, last = self._key()
        self._at += 2 if array else 1
        path: str | None = ""
        for part in outer:
            path = self._current(self._inner(path, part, line, implied=True))
        path = self._inner(path, last, line)
        if array and path is not None:
            self._elements[path] = self._elements.get(path, 0) + 1
            path = self._current(path)
            self._record(path, line)
        return path

    def _assignment(self, table: str | None) -> None:
        line = self._line()
        *outer, last = self._key()
        for part in outer:
            table = self._inner(table, part, line, implied=True)
        self._skip(_SPACE)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(self._inner(table, last, line))

    def _value(self, path: str | None) -> None:
        opening = self._text[self._at]
        if opening == "[":
            self._at += 1
            index = 0
            while self._text[self._skip(_BLANK)] != "]":
                inner = self._short(path and element(path, index))
                self._record(inner, self._line())
                self._value(inner)
                index += 1
                if self._text[self._skip(_BLANK)] == ",":
                    self._at += 1
            self._at += 1
        elif opening == "{":
            self._at += 1
            while self._text[self._skip(_BLANK)] != "}":
                self._assignment(path)
                if self._text[self._skip(_BLANK)] == ",":
                    self._at += 1
            self._at += 1
        else:
            self._skip(_STRING if opening in "\"'" else _SCALAR)

    def _key(self) -> Iterator[str]:
        """Read the parts of a dotted key."""
        while True:
            self._skip(_SPACE)
            start, quote = self._at, self._text[self._at]
            end = self._skip(_STRING if quote in "\"'" else _BARE_KEY)
            part = self._text[start:end]
            yield _unescaped(part[1:-1]) if quote == '"' else part[1:-1] if quote == "'" else part
            if self._text[self._skip(_SPACE)] != ".":
                return
            self._at += 1

    def _inner(self, table: str | None, key: str, line: int, implied: bool = False) -> str | None:
        path = None if table is None else self._short(joined(table, key))
        self._record(path, line, implied)
        return path

    def _current(self, path: str | None) -> str | None:
        """The path; for an array of tables, the path of its last element so far."""
        return self._short(element(path, self._elements[path] - 1)) if path in self._elements and path else path

    def _short(self, path: str | None) -> str | None:
        """The path, or None if it is longer than every wanted path."""
        return path if path is not None and len(path) <= self._longest else None

    def _record(self, path: str | None, line: int, implied: bool = False) -> None:
        """Record the first line of a path. The line of a table's own header replaces that of a key inside it."""
        if path not in self._wanted or path is None:
            return
        if path not in self.lines or (path in self._implied and not implied):
            self.lines[path] = line
            (self._implied.add if implied else self._implied.discard)(path)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        """Move past a match; returns the new position."""
        if match := pattern.match(self._text, self._at):
            self._at = match.end()
        return self._at

    def _line(self) -> int:
        return bisect_right(self._ends, self._at - 1) + 1


def _unescaped(text: str) -> str:
    """The characters of a basic string, given its text between the quotes."""
    return _ESCAPE.sub(
        lambda match: _ESCAPES.get(match[3], match[3]) if match[3] else chr(int(match[1] or match[2], 16)), text
    )
