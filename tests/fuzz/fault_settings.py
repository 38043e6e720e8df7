"""Changes of faults as a target: the body of a request to the admin interface, and the script in it."""

from __future__ import annotations

from typing import Final

from echod.admin.fault_resource import change_of
from echod.faults.parsing import FaultErrors, described, listed, parse_faults
from echod.faults.scripts import parse_script
from tests.fuzz.target import Target, assert_plain, text_of


def _change(data: bytes) -> bool:
    try:
        change = change_of(data)
    except ValueError as error:
        assert_plain(str(error))
        return _script(text_of(data))
    try:
        faults = parse_faults(change.set)
    except FaultErrors as error:
        _check(error)
        return False
    assert_plain(listed(faults))
    if change.script is not None:
        _script(change.script)
    return True


def _script(text: str) -> bool:
    try:
        script = parse_script(text)
    except FaultErrors as error:
        _check(error)
        return False
    assert script.steps
    for step in script.steps:
        assert step.seconds is None or step.seconds >= 0
        assert "script" not in described(step.faults)
    return True


def _check(error: FaultErrors) -> None:
    assert error.errors
    for line in str(error).split("\n"):
        assert_plain(line)
    assert len(str(error).split("\n")) == len(error.errors)


_TOKENS: Final = (
    *(
        b'{"set": {',
        b'"drop": 0.5',
        b'"delay": "200ms"',
        b'"clear": true',
        b'"script": "',
        b"}}",
        b", ",
        b'"clients": [',
    ),
    *(
        b"[[step]]\n",
        b'for = "5s"\n',
        b"drop = 0.3\n",
        b"burst = 2\n",
        b"repeat = true\n",
        b"silent = true\n",
        b"\x1b[2J",
    ),
)

TARGETS: Final = (Target("fault changes", "faults, or one plain line for each error", lambda: _change, _TOKENS),)
