"""`echoctl services`: lists the kinds of services and their options, from their own documentation."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from echod.client.kind_transport_matrix import cells, lines
from echod.client.stdout import Screen, fail
from echod.client.tables import wrapped
from echod.config.kind_options import option_forms
from echod.config.schema import field_of
from echod.config.value_types import Form
from echod.escaping import escaped
from echod.model import Service
from echod.services.registry import kinds
from echod.transports.registry import SCHEMES

WIDTH: Final = 80  #: columns


def run(arguments: argparse.Namespace) -> int:
    """Print the kinds. Report each unusable kind of another package; return 1 if there are any, else 0."""
    known = kinds()
    wrong = [*known.unusable.values()]
    if arguments.matrix:
        text = json.dumps({"matrix": cells(known)}) if arguments.json else "\n".join(lines(known))
        return _print(text, wrong)
    found = []
    for kind in known.values():
        try:
            found.append(described(kind))
        except (TypeError, NameError) as error:  # from option_forms
            wrong.append(str(error))
    text = json.dumps({"kinds": found}) if arguments.json else "\n\n".join("\n".join(page(kind)) for kind in found)
    return _print(text, wrong)


def _print(text: str, wrong: Sequence[str]) -> int:
    Screen().write(f"{text}\n".encode())
    for reason in wrong:
        fail(escaped(reason))
    return int(bool(wrong))


def described(kind: type[Service]) -> dict[str, Any]:
    """A kind and its options as JSON values."""
    defaults = kind.Options()
    helps = _helps(kind.Options)
    return {
        "kind": kind.kind,
        "summary": kind.summary,
        "transports": [
            name for name, scheme in SCHEMES.items() if scheme.available and kind.is_served_over(scheme.shape)
        ],
        "options": [
            {
                "name": key,
                "type": form.right,
                "default": _configured(form, getattr(defaults, field_of(key))),
                "help": helps.get(field_of(key), ""),
            }
            for key, form in option_forms(kind).items()
        ],
    }


def page(kind: Mapping[str, Any]) -> Iterator[str]:
    """A kind and its options as lines for a terminal."""
    yield kind["kind"]
    yield from _indented(kind["summary"], 4)
    yield from _indented(f"over {', '.join(kind['transports'])}", 4)
    for option in kind["options"]:
        default = "not set by default" if option["default"] is None else f"default {json.dumps(option['default'])}"
        yield from _indented(f"{option['name']}: {option['type']}; {default}", 4)
        yield from _indented(option["help"], 8)


def _helps(options: type) -> dict[str, str]:
    """The help texts of the fields of a dataclass or attrs class."""
    of_attrs = getattr(options, "__attrs_attrs__", ())
    fields = dataclasses.fields(options) if dataclasses.is_dataclass(options) else of_attrs
    return {field.name: str(field.metadata.get("help", "")) for field in fields}


def _configured(form: Form, value: Any) -> Any:
    """A value as a configuration has it, such as "30s" for a duration; None if it is not set."""
    return None if value is None else tomllib.loads(f"value = {form.toml(value)}")["value"]


def _indented(text: str, columns: int) -> list[str]:
    return [f"{' ' * columns}{part}" for part in wrapped(text, WIDTH - columns)]
