"""The options of a kind as keys of its service: their forms follow from the annotations of `kind.Options`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from echod.config.schema import SERVICE, key_of
from echod.config.value_types import FILE, FLAG, TEXT, Form, number, whole, words
from echod.model import Service

_FORMS: Final[Mapping[Any, Form]] = {
    bool: FLAG,
    int: whole(-(2**63), 2**63 - 1),  # what TOML promises to hold
    float: number(),
    str: TEXT,
    Path: FILE,
}


def option_forms(kind: type[Service]) -> dict[str, Form]:
    """The keys that a kind adds to its service, in the order of its Options.

    Raises TypeError where an annotation is none that a file can hold, or a key is one that every service has, and
    NameError where an annotation means nothing.
    """
    for name in inspect.signature(kind.Options).parameters:
        if key_of(name) in SERVICE.keys:
            raise TypeError(f"the option {name} of {kind.__name__} is a key that every service has; rename it")
    hints, said = get_type_hints(kind.Options), _metadata(kind.Options)
    forms = {}
    for name in inspect.signature(kind.Options).parameters:
        forms[key_of(name)] = _form(kind, name, hints.get(name))
        if hints.get(name) is int and "least" in said.get(name, {}):
            forms[key_of(name)] = whole(said[name]["least"], said[name]["most"])
    return forms


def _metadata(options: type) -> dict[str, Mapping[Any, Any]]:
    """What the fields of a dataclass or of an attrs class carry; `least` and `most` bound a whole number."""
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
    raise TypeError(f"the option {name} of {kind.__name__} has a type that no file can hold: {annotation}")
