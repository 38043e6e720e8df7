"""Checks what echoctl prints as JSON against the schema that is published with it."""

from typing import Any

from echod.client.summary_head import schema


def valid(found: Any, *names: str) -> None:
    """Raise ValueError if this is none of these definitions of the schema; without names, not a summary."""
    # trial imports the modules of the unit tests where jsonschema is not installed.
    from jsonschema import Draft202012Validator, ValidationError

    kinds = {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in names]} if names else {}
    try:
        Draft202012Validator(schema() | kinds, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(found)
    except ValidationError as error:
        raise ValueError(f"not a summary: {error}") from None


def check_summary(found: Any) -> None:
    """Raise ValueError if this is not a summary."""
    kinds = found.get("targets", [found])
    for one in kinds:  # for a message about the wrong key, not about the whole object
        if (name := {"echoctl ping": "ping", "echoctl bench": "bench"}.get(one.get("program"))) is not None:
            valid(one, name)
    valid(found)


def check_probe(found: Any) -> None:
    """Raise ValueError if this is not a line of `ping --json-lines`."""
    valid(found, "probe")


def check_second(found: Any) -> None:
    """Raise ValueError if this is not a line of `bench --json-lines`."""
    valid(found, "second")
