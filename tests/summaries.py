"""Checks what echoctl prints as JSON against the schema that is published with it."""

from typing import Any

from jsonschema import Draft202012Validator

from echod.client.summary_head import schema

SUMMARY = Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
PROBE = SUMMARY.evolve(schema=schema() | {"oneOf": [{"$ref": "#/$defs/probe"}]})
LOAD_SECOND = SUMMARY.evolve(schema=schema() | {"oneOf": [{"$ref": "#/$defs/second"}]})


def check_summary(found: Any) -> None:
    """Raise ValidationError if this is not a summary."""
    kinds = found.get("targets", [found])
    for one in kinds:  # for a message about the wrong key, not about the whole object
        if (name := {"echoctl ping": "ping", "echoctl bench": "bench"}.get(one.get("program"))) is not None:
            SUMMARY.evolve(schema=schema() | {"oneOf": [{"$ref": f"#/$defs/{name}"}]}).validate(one)
    SUMMARY.validate(found)


def check_probe(found: Any) -> None:
    """Raise ValidationError if this is not a line of `ping --json-lines`."""
    PROBE.validate(found)


def check_second(found: Any) -> None:
    """Raise ValidationError if this is not a line of `bench --json-lines`."""
    LOAD_SECOND.validate(found)
