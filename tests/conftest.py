"""What all tests share: how many examples a property is tried with."""

import os

import pytest
from hypothesis import settings

TIMES = int(os.environ.get("EXAMPLES", "10"))
"""Under `--hypothesis-profile=fuzz`, how many times the examples of every other day."""

# Where two cores are shared, a slow example is no wrong one.
settings.register_profile("house", settings(), deadline=None)
settings.register_profile("fuzz", settings(), deadline=None, max_examples=TIMES * settings().max_examples)
settings.load_profile("house")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For `make fuzz`: the properties alone, and many more examples of each, also where a test says how many."""
    if config.getoption("--hypothesis-profile") != "fuzz":
        return
    properties = [item for item in items if getattr(getattr(item, "obj", None), "is_hypothesis_test", False)]
    config.hook.pytest_deselected(items=[item for item in items if item not in properties])
    items[:] = properties
    for test in {getattr(item.obj, "__func__", item.obj) for item in properties}:  # type: ignore[attr-defined]
        own = getattr(test, "_hypothesis_internal_use_settings", None)  # a profile cannot reach what @settings said
        if own is not None and own.max_examples != settings().max_examples:
            test._hypothesis_internal_use_settings = settings(own, max_examples=TIMES * own.max_examples)
