"""Each measuring or checking tool that a page names with `python -m` prints its usage with `--help`, and then exits."""

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


@pytest.mark.parametrize("tool", TOOLS)
def test_help_prints_the_usage_and_measures_nothing(tool, capsys):
    module = importlib.import_module(tool)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{tool}.__main__")
    with pytest.raises(SystemExit) as stopped:
        module.main(["--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m {tool} ")
