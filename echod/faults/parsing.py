"""Reads faults from the values of a table or from `KEY=VALUE` texts, and describes them.

Every error is one line: the key, the value, what was expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final

from echod.config import units
from echod.escaping import counted, escaped
from echod.faults.keys import KEYS, FaultKey
from echod.faults.settings import AFTER, NO_FAULTS, Faults
from echod.shape import Shape
from echod.transports.registry import Scheme

Errors = Iterable[tuple[str, str]]
"""Keys, and what is wrong with each; the key is empty if the error concerns all."""


class FaultErrors(ValueError):
    """Faults that cannot be used. `errors` has every key with its error, and `str` has one line for each."""

    def __init__(self, errors: Errors) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(": ".join(part for part in error if part) for error in self.errors))


def field_of(key: str) -> str:
    """The field of `Faults` for a key."""
    return key.replace("-", "_")


def key_of(field: str) -> str:
    """The key of a field of `Faults`."""
    return field.replace("_", "-")


def parse_faults(written: Mapping[str, Any], base: Faults = NO_FAULTS) -> Faults:
    """The faults of `base` with other values. A value is as in TOML, or a text as in `KEY=VALUE`.

    An empty text sets the default. `script` is not a key here: its file must be read. Raises FaultErrors.
    """
    errors: list[tuple[str, str]] = []
    changed: dict[str, Any] = {}
    for key, value in written.items():
        known = KEYS.get(key)
        if key == "script":
            errors.append((key, "is a file; use echoctl faults NAME --script FILE, or [services.NAME.faults]"))
        elif known is None:
            errors.append((escaped(key[: units.SHOWN]), f"unknown key; {right_key(key)}"))
        elif value == "":
            changed[field_of(key)] = getattr(NO_FAULTS, field_of(key))
        else:
            try:
                changed[field_of(key)] = parse_value(known, value)
            except ValueError as error:
                errors.append((key, str(error)))
    faults = replace(base, **changed)
    errors = errors or [*contradictions(faults)]
    if errors:
        raise FaultErrors(errors)
    return faults


def parse_value(known: FaultKey, value: Any) -> Any:
    """The value of a key; arrays become tuples. Raises ValueError with one line."""
    read = known.form.accept(known.of_text(value) if isinstance(value, str) else value)
    return tuple(map(known.form.each.accept, read)) if known.form.each else read


def right_key(key: str, known: Iterable[str] = tuple(KEYS)) -> str:
    """The hint for an unknown key."""
    names = [name for name in known if name != "script"]
    near = get_close_matches(key[: units.SHOWN].lower().replace("_", "-"), names, n=1)
    return f"did you mean {near[0]}?" if near else "expected one of: " + ", ".join(names)


def contradictions(faults: Faults) -> Iterator[tuple[str, str]]:
    """Each key that does not fit the others, and the error."""
    after = [key_of(name) for name in AFTER if getattr(faults, name) is not None]
    if len(after) > 1:
        yield after[1], f"excludes {after[0]}; expected only one of them"
    if faults.burst is not None:
        if not 0 < faults.drop < 1:
            yield "burst", f"needs drop, the share of messages that are dropped, between 0 and 1; it is {faults.drop:g}"
        elif faults.drop > faults.burst / (faults.burst + 1):
            least = faults.drop / (1 - faults.drop)
            yield "burst", f"{faults.burst:g} is too short for drop = {faults.drop:g}; expected at least {least:g}"
    if faults.distribution != "uniform" and not faults.jitter:
        yield "distribution", "needs jitter, the scale of the random time"


def misfits(faults: Faults, forms: Iterable[Scheme]) -> Iterator[tuple[str, str]]:
    """Each active key that none of these forms of addresses has, and the error."""
    served = list(forms)
    steps = faults.script.steps if faults.script else ()
    names = faults.active.union(*(step.faults.active for step in steps))
    for key, known in KEYS.items():
        if field_of(key) in names and served and not any(is_on(known, form) for form in served):
            yield key, f"does not exist on {_shapes(served)}; expected an address of {places(known)}"


def is_on(known: FaultKey, form: Scheme) -> bool:
    """Whether a fault exists on the addresses of a scheme."""
    has_layer = not known.layer or known.layer in form.layers
    has_layer = has_layer and known.without not in form.layers
    return form.shape in known.shapes and has_layer and not (known.inet and form.has_path)


def listed(faults: Faults) -> str:
    """The active keys and values as one line, for the log."""
    return ", ".join(f"{key} = {value}" for key, value in described(faults).items()) or "none"


PLURALS: Final = {Shape.STREAM: "streams", Shape.MESSAGE: "messages", Shape.DATAGRAM: "datagrams"}


def _shapes(forms: Iterable[Scheme]) -> str:
    shapes = {form.shape for form in forms}
    words = {**PLURALS, Shape.REQUEST: "requests"}
    return " and ".join(word for shape, word in words.items() if shape in shapes)


def places(known: FaultKey) -> str:
    """The places where a fault exists, for a message: `messages or datagrams`, or a layer."""
    if known.layer:
        return {"tls": "tls:// or wss://", "websocket": "ws:// or wss://"}.get(known.layer, known.layer)
    places = " or ".join(word for shape, word in PLURALS.items() if shape in known.shapes)
    excluded = ("ws:// and wss://" if known.without else "") or ("Unix sockets" if known.inet else "")
    return f"{places}, except {excluded}" if excluded else places


def described(faults: Faults) -> dict[str, str]:
    """The active keys, with their values as TOML; a script is its number of steps."""
    shown: dict[str, str] = {}
    for key, known in KEYS.items():
        value = getattr(faults, field_of(key))
        if field_of(key) in faults.active:
            shown[key] = counted(len(value.steps), "step", "steps") if key == "script" else known.form.toml(value)
    return shown
