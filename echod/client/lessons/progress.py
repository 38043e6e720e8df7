"""The progress of the learner: a file below `$XDG_STATE_HOME`.

The XDG Base Directory Specification puts the history of a user's actions there. `$XDG_DATA_HOME` is for data that users
carry to other machines.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Final

from echod.escaping import escaped, system_error
from echod.small_files import Unsuitable, read_whole

FILE: Final = "lessons.json"
MOST: Final = 1_000_000  #: attempts that are counted


@dataclass
class Record:
    """The progress in one lesson."""

    passed: bool = False
    attempts: int = 0
    hints: int = 0  #: hints that were shown


class Unusable(Exception):
    """The file cannot be read or written; the message names it, and the reason."""


def path_of(environ: Mapping[str, str]) -> str:
    """The path of the file. A variable that is not an absolute path is ignored, as the specification requires."""
    home = environ.get("XDG_STATE_HOME", "")
    if not home.startswith("/"):
        home = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, "echod", FILE)


def read(path: str, numbers: int) -> dict[int, Record]:
    """The records of `numbers` lessons; without a file, new ones. Raises Unusable."""
    try:
        found = json.loads(read_whole(path))
        return {number: _record(found["lessons"].get(str(number), {})) for number in range(1, numbers + 1)}
    except FileNotFoundError:
        return new(numbers)
    except OSError as error:
        raise Unusable(f"{escaped(path)}: {system_error(error)}") from None
    except Unsuitable as error:
        raise Unusable(f"{escaped(path)}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unusable(f"{escaped(path)}: is not a file of progress; `echoctl lesson --reset` removes it") from None


def new(numbers: int) -> dict[int, Record]:
    """The records of a new learner."""
    return {number: Record() for number in range(1, numbers + 1)}


def write(path: str, records: Mapping[int, Record]) -> None:
    """Replace the file, all or nothing. Raises Unusable."""
    folder = os.path.dirname(path)
    text = json.dumps({"lessons": {str(number): asdict(record) for number, record in records.items()}}, indent=1)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(dir=folder, prefix=FILE)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(f"{text}\n")
            os.replace(beside, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside)
            raise
    except OSError as error:
        raise Unusable(f"{escaped(path)}: {system_error(error)}") from None


def remove(path: str) -> None:
    """Forget the progress. Raises Unusable."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Unusable(f"{escaped(path)}: {system_error(error)}") from None


def _record(found: Mapping[str, object]) -> Record:
    """A record with the values of the file. Raises ValueError for another name or value."""
    if found.keys() - {one.name for one in fields(Record)}:
        raise ValueError("a name is wrong")
    passed = found.get("passed", False)
    if not isinstance(passed, bool):
        raise ValueError("passed is not a boolean")
    return Record(passed, _count(found.get("attempts", 0)), _count(found.get("hints", 0)))


def _count(found: object) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= MOST:
        raise ValueError("a number is wrong")
    return found
