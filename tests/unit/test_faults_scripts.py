"""Scripts: their steps, and errors that name them."""

from dataclasses import replace

import pytest

from echod.faults.parsing import FaultErrors
from echod.faults.scripts import parse_script
from echod.faults.settings import Faults, Step

SCRIPT = """
[[step]]
for = "10s"
[[step]]
for = "5s"
drop = 0.3
[[step]]
reset-after = "0"
"""


def test_a_script_is_a_list_of_steps():
    script = parse_script(SCRIPT, Faults(delay=1.0))
    assert script.steps == (
        Step(Faults(delay=1.0), 10.0),
        Step(Faults(delay=1.0, drop=0.3), 5.0),
        Step(Faults(delay=1.0, reset_after=0)),
    )
    assert not script.repeat


def test_a_byte_order_mark_is_ignored_as_in_a_configuration():
    assert parse_script("\ufeff" + SCRIPT) == parse_script(SCRIPT)


def test_a_script_is_shown_as_the_path_of_its_file():
    assert str(replace(parse_script(SCRIPT), source="/etc/echod/outage.toml")) == "/etc/echod/outage.toml"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x", "not valid TOML: "),
        ("x = " + "9" * 5000, "not valid TOML: a number has too many digits"),
        ("x = " + "[" * 20_000, "not valid TOML: nested too deeply"),
        ("", "step: must be 1 to 1000 tables [[step]], not 0"),
        ("step = 1", "step: must be 1 to 1000 tables [[step]], not a number"),
        ("step = [1]", "step[0]: must be a table, not a number"),
        ("stop = 1\n[[step]]", "stop: unknown key; expected one of: step, repeat"),
        ("repeat = 1\n[[step]]\nfor = '1s'", "repeat: must be true or false, not 1"),
        ("repeat = true\n[[step]]\nfor = '0'", 'repeat: needs steps that last at least "100ms" together'),
        ("[[step]]\n[[step]]", "step[0].for: is missing; expected a duration"),
        ("[[step]]\nfor = 5", "step[0].for: must be a duration"),
        ("[[step]]\nseed = 5", "step[0].seed: is not a key of a step"),
        ("[[step]]\ndrop = 2", "step[0].drop: must be a number from 0 to 1, not 2"),
        ("[[step]]\nburst = 2", "step[0].burst: needs drop"),
    ],
    ids=range(14),
)
def test_an_error_of_a_script_names_the_step(text, error):
    with pytest.raises(FaultErrors) as caught:
        parse_script(text)
    assert str(caught.value).startswith(error)
