"""The files of a configuration: which there are, and what TOML finds in them. Nothing here knows a key."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from echod.config.errors import Fault
from echod.small_files import Unsuitable, not_utf8, read_whole
from echod.text import system_error

SYSTEM: Final = Path("/etc/echod/echod.toml")
DROP_INS: Final = "conf.d"

_IGNORED: Final = (".*", "*~", "*.dpkg-*", "*.rpm*")  # what editors and packages leave behind


@dataclass(frozen=True)
class TomlFile:
    """A file that was read: what it means, and the text that the line numbers of errors are found in."""

    path: Path
    content: dict[str, Any]
    text: str


def read_all(main: Path, faults: list[Fault]) -> list[TomlFile]:
    """The main file and every `conf.d/*.toml` beside it, in the order in which they count.

    A file that cannot be read becomes a fault and is left out.
    """
    found = (_read(file, faults) for file in (main, *_drop_ins(main.parent / DROP_INS, faults)))
    return [file for file in found if file is not None]


def exists(path: Path) -> bool:
    """Whether there is something at `path`; what we may not look at is there, for its fault is worth a line."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _drop_ins(directory: Path, faults: list[Fault]) -> Iterator[Path]:
    try:
        names = os.listdir(directory)  # names, to be sorted by their bytes
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        faults.append(Fault(directory, "", _why(error)))
        return
    for name in sorted(names, key=os.fsencode):
        if name.endswith(".toml") and not any(fnmatchcase(name, pattern) for pattern in _IGNORED):
            yield directory / name


def _read(file: Path, faults: list[Fault]) -> TomlFile | None:
    try:
        data = read_whole(file, own=True)
    except Unsuitable as error:
        faults.append(Fault(file, "", f"{error}; expected a configuration"))
        return None
    except (OSError, ValueError) as error:
        faults.append(Fault(file, "", _why(error)))
        return None
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
        return TomlFile(file, tomllib.loads(text), text)
    except UnicodeDecodeError as error:
        line, said = not_utf8(error)
        faults.append(Fault(file, "", said, line))
    except RecursionError:
        faults.append(Fault(file, "", "is nested too deeply"))
    except ValueError as error:  # TOMLDecodeError, and what int() says to thousands of digits
        faults.append(_syntax(file, str(error), data.count(b"\n") + 1))
    return None


def _syntax(file: Path, said: str, last: int) -> Fault:
    """The error of tomllib, with its position moved to the front; `last` is the number of the last line."""
    if match := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", said, re.DOTALL):
        return Fault(file, "", f"not TOML: {match[1]}", int(match[2]), int(match[3]))
    return Fault(file, "", f"not TOML: {said}", last if said.endswith("(at end of document)") else None)


def _why(error: OSError | ValueError) -> str:
    """The system's own words and name for it; a ValueError is a NUL in the name."""
    return f"cannot be read: {system_error(error) if isinstance(error, OSError) else error}"
