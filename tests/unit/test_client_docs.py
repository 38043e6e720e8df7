"""docs/ECHOCTL.md agrees with the code: every command, every option and every figure."""

import json
import re
from pathlib import Path

import pytest

from echod.client.argparse_errors import Parser
from echod.client.command_definitions import COMMANDS
from echod.client.probe_ledger import ProbeLedger
from echod.client.statistics import Times
from echod.client.summary import figures
from echod.transports.layers.http_answer import FIRST_PATHS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "ECHOCTL.md").read_text("utf-8")


def section(title):
    """The part of the page under one heading."""
    [part] = [part for part in re.split(r"(?m)^## ", PAGE) if part.partition("\n")[0] == title]
    return part


def options(command):
    parser = Parser()
    COMMANDS[command][1](parser)
    return {word for action in parser._actions for word in action.option_strings} - {"-h", "--help"}


def test_every_command_has_its_line_and_its_section():
    listed = re.findall(r"(?m)^\| \[`(\w+)[^|]*\]\(#(\w+)\) \|", PAGE)
    assert listed == [(name, name) for name in COMMANDS]
    for name in COMMANDS:
        assert f"    echoctl {name}" in section(name)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_that_the_help_names_exists_and_its_manual_page_is_named_too(command):
    parser = Parser()
    COMMANDS[command][1](parser)
    pages = dict(re.findall(r'\("([A-Z]+)", "([a-z.-]+)"', (DOCS / "conf.py").read_text("utf-8")))
    text = " ".join(parser.format_help().split())
    for page in re.findall(r"docs/(\w+)\.md", text):
        assert (DOCS / f"{page}.md").exists()
        assert page not in pages or f"{pages[page]}(" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_described_and_no_other(command):
    described = set(re.findall(r"`(-{1,2}[\w-]+)", "\n".join(re.findall(r"(?m)^\| (`-.*?) \|", section(command)))))
    assert described == options(command)
    [usage] = re.findall(rf"(?m)^    echoctl {command}.*", section(command))
    shown = set(re.findall(r"(?:\[| \| )(-{1,2}\w[\w-]*)", usage))
    assert shown <= options(command) if "[OPTION…]" in usage else shown == options(command)


def test_every_figure_is_described():
    for name in figures(ProbeLedger(1), Times(), 0):
        assert f"`{name.removesuffix('_ms').removesuffix('_percent')}`" in section("ping")


def test_the_object_that_is_shown_has_every_figure():
    [shown] = re.findall(r"(?s)^(\{.*?\})$", section("ping"), re.MULTILINE)
    found = json.loads(shown)
    assert set(figures(ProbeLedger(1), Times(), 0)) < set(found)
    assert found["size_bytes"] == 64


def test_the_refusal_of_a_path_is_that_of_the_shipped_configuration():
    shipped = (Path(__file__).parents[2] / "etc" / "echod.toml").read_text("utf-8")
    paths = re.findall(r'"ws://127\.0\.0\.1:18007(/\w+)"', shipped)
    text = f"the WebSocket paths are {', '.join(paths[:FIRST_PATHS])} and {len(paths) - FIRST_PATHS} more"
    assert text in " ".join(section("WebSocket").split())


def test_the_page_names_only_files_of_the_reader():
    assert not re.search(r"/(?:tmp|work|root)\b", PAGE)
    assert max(len(line) for line in PAGE.splitlines() if not line.startswith(("|", "{"))) <= 120
