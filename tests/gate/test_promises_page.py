"""docs/PROMISES.md agrees with the code: its tests exist, and its attacks are those of `make chaos`.

The example of docs/SECURITY.md is read as a configuration; tests/unit/test_security_page.py checks its words.
"""

import re
from pathlib import Path

import pytest

from echod.config.loading import load
from echod.services.registry import kinds
from tests.chaos.page import HELD_BY, row, updated
from tests.chaos.report import Figure, Outcome
from tests.chaos.run import SCENARIOS

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "PROMISES.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/.]+)`", PAGE)))
ROWS = {int(number): cells for number, cells in re.findall(r"(?m)^\| (\d+) \| (.*) \|$", PAGE)}


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_is_named_exists(name):
    assert re.search(r"(?m)^ *def test_", (TOP / name).read_text("utf-8"))


def test_every_attack_has_a_row_and_every_row_an_attack():
    assert list(ROWS) == [scenario.number for scenario in SCENARIOS]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: str(scenario.number))
def test_the_promise_of_a_row_is_the_one_of_its_attack(scenario):
    assert scenario.promise in ROWS[scenario.number]
    assert all(f"`{name}`" in ROWS[scenario.number] for name in HELD_BY[scenario.number])


def test_a_run_updates_only_the_rows_of_the_attacks_that_it_ran():
    tried, not_tried = (Outcome(scenario) for scenario in SCENARIOS[:2])
    tried.figures.append(Figure("echod", "1.0×", kept=True))
    new = updated(PAGE, [not_tried, tried], "2030-01-01")
    assert row(tried, "2030-01-01") in new
    assert new.splitlines()[:20] == PAGE.splitlines()[:20]
    assert [line for line in new.splitlines() if line not in PAGE.splitlines()] == [
        row(tried, "2030-01-01").rstrip("\n")
    ]
    assert updated(new, [not_tried], "") == new


def test_every_test_file_of_the_gate_is_on_the_page():
    files = {f"tests/gate/{path.name}" for path in (TOP / "tests" / "gate").glob("test_*.py")}
    assert files - set(NAMED) == {"tests/gate/test_promises_page.py"}


def test_the_example_of_the_security_page_is_a_configuration(tmp_path):
    (example,) = re.findall(r"(?ms)^```toml\n(.*?)^```$", (TOP / "docs" / "SECURITY.md").read_text("utf-8"))
    (tmp_path / "echod.toml").write_text(example)
    (service,) = load(tmp_path / "echod.toml", kinds(plugins=()), {}).services
    assert not service.larger_answers_to or all(network.is_loopback for network in service.larger_answers_to)
    assert service.limits.rate == "auto"
