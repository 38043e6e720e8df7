"""Finds and parses the files of a configuration. It does not know any key."""

from __future__ import annotations

import os
import re
import tomllib
from ast import literal_eval
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import reduce
from pathlib import Path
from typing import Any, Final

from echod.config.errors import LocatedError, joined, why_not_toml
from echod.escaping import system_error
from echod.small_files import Unsuitable, not_utf8, read_whole

SYSTEM: Final = Path("/etc/echod/echod.toml")
DROP_INS: Final = "conf.d"

_EXPECTED: Final = {
    "Invalid statement": "KEY = VALUE or [TABLE]",
    "Invalid value": "text in quotes, a number, true, false, or an array of such values",
    "Cannot overwrite a value": "each key once",
}
"""The expected text, for errors of tomllib without it."""
_IGNORED: Final = (".*", "*~", "*.dpkg-*", "*.rpm*")  # backups of editors and package managers


@dataclass(frozen=True)
class TomlFile:
    """A parsed file, and its text for the line numbers of errors."""

    path: Path
    content: dict[str, Any]
    text: str


def read_all(main: Path, errors: list[LocatedError]) -> list[TomlFile]:
    """The main file and every `conf.d/*.toml` next to it; later files override earlier ones.

    For a file that cannot be read, an error is appended to `errors`.
    """
    found = (_read(file, errors) for file in (main, *_drop_ins(main.parent / DROP_INS, errors)))
    return [file for file in found if file is not None]


def exists(path: Path) -> bool:
    """Whether `path` exists. True also if that cannot be checked, so that reading it reports the error."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _drop_ins(directory: Path, errors: list[LocatedError]) -> Iterator[Path]:
    try:
        names = os.listdir(directory)  # names of files, sorted by their bytes below
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        errors.append(LocatedError(directory, "", _why(error)))
        return
    for name in sorted(names, key=os.fsencode):
        if name.endswith(".toml") and not any(fnmatchcase(name, pattern) for pattern in _IGNORED):
            yield directory / name


def _read(file: Path, errors: list[LocatedError]) -> TomlFile | None:
    try:
        data = read_whole(file, own=True)
    except Unsuitable as error:
        errors.append(LocatedError(file, "", f"{error}; expected a configuration"))
        return None
    except (OSError, ValueError) as error:
        errors.append(LocatedError(file, "", _why(error)))
        return None
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
        return TomlFile(file, tomllib.loads(text), text)
    except UnicodeDecodeError as error:
        line, text = not_utf8(error)
        errors.append(LocatedError(file, "", text, line))
    except (ValueError, RecursionError) as error:
        errors.append(_syntax(file, why_not_toml(error), data.count(b"\n") + 1))
    return None


def _syntax(file: Path, text: str, last: int) -> LocatedError:
    """The error of tomllib, with its position moved to the front; `last` is the number of the last line."""
    if match := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", text, re.DOTALL):
        return LocatedError(file, "", f"not TOML: {_plain(match[1])}", int(match[2]), int(match[3]))
    return LocatedError(file, "", f"not TOML: {text}", last if text.endswith("(at end of document)") else None)


def _plain(text: str) -> str:
    """The text of an error of tomllib, with what was expected. tomllib shows the name of a table as a tuple."""
    if match := re.fullmatch(r"Cannot declare (\(.*\)) twice", text, re.DOTALL):
        with suppress(ValueError, SyntaxError):
            name = reduce(joined, literal_eval(match[1]), "")
            return f"the table [{name}] occurs twice; expected all its keys in one place"
    return f"{text}; expected {_EXPECTED[text]}" if text in _EXPECTED else text


def _why(error: OSError | ValueError) -> str:
    """The error message for a file that cannot be read. A ValueError is a NUL in the file name."""
    return f"cannot be read: {system_error(error) if isinstance(error, OSError) else error}"
