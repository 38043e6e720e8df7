"""What is wrong with a configuration, said in one line each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from echod.text import escaped


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: in which file, at which key, and what would be right."""

    file: Path  #: or the option of the command line that held it, such as `--listen`
    path: str  #: the key with its tables, or `line 3, column 7`; empty where the whole file is meant
    text: str

    def __str__(self) -> str:
        """The fault as one line, whatever its parts hold."""
        return escaped(f"{self.file}: {self.path}: {self.text}" if self.path else f"{self.file}: {self.text}")


class ConfigurationError(Exception):
    """A configuration that cannot be used: `faults` has all there is to say, `str` says it line by line."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


LONGEST_KEY: Final = 64  #: characters that a path shows of one key; a key that the schema knows is shorter


def joined(path: str, key: str) -> str:
    """The path of a key in a table, quoted as TOML quotes it where it is no bare key, and cut where it is long."""
    part = key if len(key) <= LONGEST_KEY else key[:LONGEST_KEY] + "…"
    shown = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else toml_text(part)
    return f"{path}.{shown}" if path else shown


def toml_text(text: str) -> str:
    """Text as a TOML basic string: one line, in visible characters."""
    return f'"{"".join(map(_quoted, text))}"'


def _quoted(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
