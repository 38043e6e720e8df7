"""Derives the configuration keys of a kind's options from the annotations of `kind.Options`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from echod.config.schema import SERVICE, key_of
from echod.config.value_types import DURATION, FILE, FLAG, SIZE, TEXT, Form, array, number, whole, words
from echod.model import Service

_FORMS: Final[Mapping[Any, Form]] = {
    bool: FLAG,
    int: whole(-(2**63), 2**63 - 1),  # the range of integers in TOML
    float: number(),
    str: TEXT,
    Path: FILE,
    tuple[str, ...]: array(TEXT, 'texts such as ["a", "b"]'),
}
_UNITS: Final[Mapping[str, Form]] = {"seconds": DURATION, "bytes": SIZE}


def option_forms(kind: type[Service]) -> dict[str, Form]:
    """The keys that a kind adds to its service, in the order of its Options.

    Raises TypeError if an annotation is not supported, or if a key exists in every service. Raises NameError if an
    annotation cannot be evaluated.
    """
    for name in inspect.signature(kind.Options).parameters:
        if key_of(name) in SERVICE.keys:
            raise TypeError(f"option {name} of {kind.__name__} is a key that every service has; rename it")
    hints, metadata = get_type_hints(kind.Options), _metadata(kind.Options)
    forms = {}
    for name in inspect.signature(kind.Options).parameters:
        forms[key_of(name)] = _form(kind, name, hints.get(name))
        if hints.get(name) is int and "least" in metadata.get(name, {}):
            forms[key_of(name)] = whole(metadata[name]["least"], metadata[name]["most"])
        if "unit" in metadata.get(name, {}):
            forms[key_of(name)] = _UNITS[metadata[name]["unit"]]
    return forms


def _metadata(options: type) -> dict[str, Mapping[Any, Any]]:
    """The metadata of a dataclass or attrs class: `least` and `most` of a whole number, or the `unit` of a number."""
    fields = dataclasses.fields(options) if dataclasses.is_dataclass(options) else ()
    return {field.name: field.metadata for field in (*fields, *getattr(options, "__attrs_attrs__", ()))}


def _form(kind: type[Service], name: str, annotation: Any) -> Form:
    if annotation in _FORMS:
        return _FORMS[annotation]
    if get_origin(annotation) is Literal:
        return words(*get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        inner = [part for part in get_args(annotation) if part is not NoneType]
        if len(inner) == 1:
            return _form(kind, name, inner[0])
    raise TypeError(f"option {name} of {kind.__name__} has an unsupported type: {annotation}")
