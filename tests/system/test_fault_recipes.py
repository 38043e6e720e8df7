"""The recipes of docs/FAULTS.md: each program runs as it is printed, and names the wish that it answers."""

import re

import pytest

from tests.daemon import TOP

PAGE = (TOP / "docs" / "FAULTS.md").read_text("utf-8")
RECIPES = dict(re.findall(r"(?ms)^### ([^\n]+)\n(.*?)(?=^### |^## |\Z)", PAGE.partition("\n## Recipes\n")[2]))


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES, ids=[title.partition(",")[0].replace(" ", "-") for title in RECIPES])
def test_a_recipe_runs_as_it_is_printed(title):
    [program] = re.findall(r"(?ms)^```python\n(.*?)^```$", RECIPES[title])
    assert re.search(r"\]\(https://github\.com/\S+/(issues|pull)/\d+\)", RECIPES[title])
    exec(compile(program, title, "exec"), {"__name__": "recipe"})
