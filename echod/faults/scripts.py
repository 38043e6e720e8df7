"""Reads scripts, which are faults over time, from TOML. Every error is one line with the step and the key."""

from __future__ import annotations

import tomllib
from typing import Any, Final

from echod.config import units
from echod.config.errors import element, why_not_toml
from echod.config.value_types import DURATION, FLAG, Form, type_of
from echod.escaping import escaped
from echod.faults.parsing import FaultErrors, parse_faults
from echod.faults.settings import NO_FAULTS, Faults, Script, Step

MOST_STEPS: Final = 1000  #: of a script
SHORTEST_CYCLE: Final = 0.1  #: seconds of all steps, if they repeat: each step is a change of all connections
OF_SCRIPTS: Final = ("script", "seed", "every", "first", "clients")
"""The keys that apply to a whole script, not to a step."""


def parse_script(written: str, base: Faults = NO_FAULTS) -> Script:
    """A script from TOML: `[[step]]` tables with `for` and keys of faults, and `repeat`. Raises FaultErrors.

    The keys of `base` apply in each step that does not set them.
    """
    try:
        content = tomllib.loads(written.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise FaultErrors([("", f"not valid TOML: {escaped(why_not_toml(error))}")]) from None
    errors = [
        (escaped(key[: units.SHOWN]), "unknown key; expected one of: step, repeat")
        for key in content
        if key not in ("step", "repeat")
    ]
    repeat = _part(errors, "repeat", FLAG, content.get("repeat", False))
    tables = content.get("step", [])
    steps: list[Step] = []
    if not isinstance(tables, list) or not 0 < len(tables) <= MOST_STEPS:
        errors.append(("step", f"must be 1 to {MOST_STEPS} tables [[step]], not {_count(tables)}"))
        tables = []
    for index, table in enumerate(tables):
        where = element("step", index)
        if not isinstance(table, dict):
            errors.append((where, f"must be a table, not {type_of(table)}"))
            continue
        seconds = _part(errors, f"{where}.for", DURATION, table["for"]) if "for" in table else None
        if seconds is None and "for" not in table and (index < len(tables) - 1 or repeat):
            errors.append((f"{where}.for", 'is missing; expected a duration such as "5s" (only a last step may last)'))
        settings = {key: value for key, value in table.items() if key != "for"}
        errors += [(f"{where}.{key}", "is not a key of a step") for key in OF_SCRIPTS if settings.pop(key, None)]
        try:
            steps.append(Step(parse_faults(settings, base), seconds))
        except FaultErrors as error:
            errors += [(f"{where}.{key}", text) for key, text in error.errors]
    if repeat and not errors and sum(step.seconds or 0 for step in steps) < SHORTEST_CYCLE:
        errors.append(("repeat", f'needs steps that last at least "{units.duration_text(SHORTEST_CYCLE)}" together'))
    if errors:
        raise FaultErrors(errors)
    return Script(tuple(steps), repeat)


def _part(errors: list[tuple[str, str]], key: str, form: Form, value: Any) -> Any:
    try:
        return form.accept(value)
    except ValueError as error:
        errors.append((key, str(error)))
        return None


def _count(tables: Any) -> str:
    return str(len(tables)) if isinstance(tables, list) else type_of(tables)
