"""Each measuring or checking tool that a page names with `python -m` prints its usage with `--help`, and then exits."""

import argparse
import importlib
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", TOP / "bench" / "README.md", *(TOP / "docs").rglob("*.md")]
NAMED = re.compile(r"python3? -m ((?:bench|tests)(?:\.[a-z_]+)*)")
TOOLS = sorted({name for page in PAGES for name in NAMED.findall(page.read_text("utf-8"))} | {"bench.comparison"})


def test_the_pages_name_tools():
    assert {"bench", "bench.chat", "bench.outages", "tests.prose"} <= set(TOOLS)


class Parsed(Exception):
    """A tool has built its parser."""


def main_of(tool):
    module = importlib.import_module(tool)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{tool}.__main__")
    return module.main


def options_of(tool, monkeypatch):
    """The options of a tool, without --help."""
    parsers = []

    def parse_args(parser, _words=None):
        parsers.append(parser)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    with pytest.raises(Parsed):
        main_of(tool)([])
    return [each for each in parsers[0]._actions if each.dest != "help"]


@pytest.mark.parametrize("tool", TOOLS)
def test_each_option_has_a_description(tool, monkeypatch):
    assert not [option.dest for option in options_of(tool, monkeypatch) if not option.help or option.help[0] == "("]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_number_that_cannot_be_measured_is_a_usage_error(tool, monkeypatch):
    """Only a seed may be any number."""
    for option in options_of(tool, monkeypatch):
        assert option.type not in (int, float) or option.dest == "seed", option.dest
        if isinstance(option.default, (int, float)) and option.type not in (int, None):
            for wrong in ("-1", "nan", "x", "", "9" * 30):
                with pytest.raises(argparse.ArgumentTypeError, match="is not a "):
                    option.type(wrong)
            assert option.type(str(option.default)) == option.default


@pytest.mark.parametrize(
    ("tool", "words", "error"),
    [
        ("bench.load_tools", ["--only", "tcp-1,tpc-64"], "--only: 'tpc-64' is unknown; expected one of tcp-1, "),
        ("bench.load_tools", ["--tables", "4"], "--tables: invalid choice: '4'"),
        ("bench.scale", ["--peers", "rust"], "--peers: 'rust' is unknown; expected one of echod, "),
        ("bench.pairs", ["/nonexistent"], "BEFORE: '/nonexistent' is not the folder of a checkout"),
        ("bench.pairs", [".", "--only", "x"], "--only: 'x' is unknown; expected one of tcp-64, "),
        ("tests.chaos.worker_cost", ["--pairs", "1"], "--pairs: '1' is not a whole number from 2 to 999999999"),
    ],
    ids=range(6),
)
def test_a_name_that_is_not_known_is_a_usage_error(tool, words, error, capsys):
    with pytest.raises(SystemExit, match="2"):
        main_of(tool)(words)
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("tool", TOOLS)
def test_help_prints_the_usage_and_measures_nothing(tool, capsys):
    with pytest.raises(SystemExit) as stopped:
        main_of(tool)(["--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m {tool} ")
