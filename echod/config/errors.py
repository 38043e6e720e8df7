"""Configuration errors: one line each, with the file, the line and the key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from echod.escaping import escaped


@dataclass(frozen=True)
class LocatedError:
    """One error: the file, the key, what is wrong with it and what was expected."""

    file: Path  #: or the option of the command line that held it, such as `--listen`
    path: str  #: the key with its tables; empty if the error concerns the whole file
    text: str
    line: int | None = None  #: counted from 1; None if it is not known
    column: int | None = None  #: counted from 1, for TOML that cannot be parsed

    def __str__(self) -> str:
        """The error as one printable line: `/etc/echod/echod.toml:12: services.echo.listen: …`."""
        position = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return escaped(": ".join(part for part in (position, self.path, self.text) if part))


class ConfigurationError(Exception):
    """A configuration that cannot be used: `errors` has every error, `str` has one line for each."""

    def __init__(self, errors: Iterable[LocatedError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


LONGEST_KEY: Final = 64  #: characters that a path shows of one key; a key that the schema knows is shorter


def joined(path: str, key: str) -> str:
    """The path of a key in a table. A key that is not a bare key is quoted as in TOML; a long key is cut."""
    part = key if len(key) <= LONGEST_KEY else key[:LONGEST_KEY] + "…"
    shown = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else toml_text(part)
    return f"{path}.{shown}" if path else shown


def element(path: str, index: int) -> str:
    """The path of an array element; empty for values of the command line, whose `path` is empty."""
    return f"{path}[{index}]" if path else ""


def why_not_toml(error: ValueError | RecursionError) -> str:
    """The reason in an error of tomllib. Besides its own errors there are those of int() and of the stack."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, tomllib.TOMLDecodeError):
        return str(error)
    return "a number has too many digits"


def toml_text(text: str) -> str:
    """Text as a TOML basic string: one line of printable characters."""
    return f'"{"".join(map(_quoted, text))}"'


def _quoted(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
