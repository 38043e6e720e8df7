"""Builds the faults of a service, and reads its script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from echod.config.errors import joined
from echod.config.schema_check import Found, Reading, Written
from echod.escaping import system_error
from echod.faults.parsing import FaultErrors, contradictions, misfits
from echod.faults.scripts import parse_script
from echod.faults.settings import Faults, Script
from echod.small_files import Unsuitable, not_utf8, read_whole

_KEY_OF_SCRIPT: Final = "script"


def faults_of(reading: Reading, path: str, found: Found, fields: Mapping[str, Any], listen: Written) -> Faults | None:
    """The faults of the table at `path`, whose keys are `found` and values `fields`; None after an error.

    Errors are recorded in `reading`. The addresses `listen` decide which faults exist; those of inherited sockets are
    not known yet.
    """
    file = next((one.file for one in found.values() if isinstance(one, Written)), listen.file)

    def add_error(key: str, text: str) -> None:
        written = found.get(key)
        reading.add_error(written.file if isinstance(written, Written) else file, joined(path, key), text)

    before = len(reading.errors)
    faults = Faults(**{name: value for name, value in fields.items() if name != _KEY_OF_SCRIPT})
    errors = [*contradictions(faults)]
    if _KEY_OF_SCRIPT in fields and not errors:
        try:
            faults = replace(faults, script=script_of(fields[_KEY_OF_SCRIPT], faults))
        except FaultErrors as error:
            for key, text in error.errors:
                add_error(_KEY_OF_SCRIPT, ": ".join(part for part in (str(fields[_KEY_OF_SCRIPT]), key, text) if part))
    addresses = [address for address in listen.value if address is not None]
    if not any(address.is_passed for address in addresses):
        errors += misfits(faults, [address.served_form for address in addresses])
    for key, text in errors:
        add_error(key, text)
    return faults if len(reading.errors) == before else None


def script_of(file: Path, base: Faults) -> Script:
    """The script in a file. Raises FaultErrors."""
    try:
        return replace(parse_script(read_whole(file).decode("utf-8"), base), source=str(file))
    except OSError as error:
        raise FaultErrors([("", system_error(error))]) from None
    except Unsuitable as error:
        raise FaultErrors([("", str(error))]) from None
    except UnicodeDecodeError as error:
        raise FaultErrors([("", not_utf8(error)[1])]) from None
