"""Settings of all tests: the number of examples of a property, groups for parallel runs, durations by folder."""

import gc
import os
import signal
import sys
from collections import Counter

import pytest
from hypothesis import settings

TIMES = int(os.environ.get("EXAMPLES", "10"))
"""With `--hypothesis-profile=fuzz`, the factor for the usual number of examples."""

# A slow example is not a failure on two shared cores.
settings.register_profile("house", settings(), deadline=None)
settings.register_profile("fuzz", settings(), deadline=None, max_examples=TIMES * settings().max_examples)
settings.load_profile("house")


# Without files of bytecode, each of a thousand processes would compile all modules again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The programs of users buffer their output: a signal may interrupt the write of a buffer, and an exit flushes it.
os.environ.pop("PYTHONUNBUFFERED", None)

gc.disable()  # collections among the modules and tests, which stay, take half of the collection's time


def pytest_collection_finish() -> None:
    """Collect garbage again, except among the modules and tests."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Do not let programs inherit an ignored signal.

    A shell ignores SIGINT and SIGQUIT for its background jobs, and nohup(1) ignores SIGHUP. A test that parses the
    command line of the daemon ignores SIGHUP and SIGUSR1, as the daemon does from then on.
    """
    for number in (signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # otherwise its handler is that of Python or of a reactor
        signal.signal(signal.SIGINT, signal.default_int_handler)


pytest_runtest_setup()  # before tests.fork_server reads which signals are ignored


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark repeated tests as slow, and keep those that share a module's fixture in one process of pytest-xdist.

    So it is set up once.
    """
    if _repeats_another(item):
        item.add_marker(pytest.mark.slow)
    if (group := _group(item)) is not None:
        item.add_marker(pytest.mark.xdist_group(group))


def _repeats_another(item: pytest.Item) -> bool:
    """Whether `make test` runs the same test with the fast path; `tests/contract` runs both paths in any case."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if item.path.parent.name == "gate":
        return parameters.get("way") in ("changed", "beside-the-plane")
    planes = {parameters.get("plane"), parameters.get("daemon")}
    return item.path.parent.name == "system" and not planes.isdisjoint({"python", "off"})


def _group(item: pytest.Item) -> str | None:
    """The module and the parameters of its fixtures; None for a test that shares nothing."""
    if not isinstance(item, pytest.Function) or item.get_closest_marker("xdist_group"):
        return None
    if item.path.parent.name == "box":
        return "box"  # its package is built once, for all of its modules
    fixtures = item._fixtureinfo.name2fixturedefs
    shared = [name for name, found in fixtures.items() if found[-1].scope == "module" and not name.startswith("_")]
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    own = [str(parameters[name]) for name in sorted(shared) if name in parameters]
    return "-".join([item.path.stem, *own]) if shared else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many seconds the tests of each folder took, if more than one folder was tested."""
    seconds: dict[str, float] = {}
    tests: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                folder = os.path.dirname(report.nodeid.partition("::")[0])
                seconds[folder] = seconds.get(folder, 0.0) + report.duration
                tests[folder] += report.when == "call"
    if len(seconds) > 1:
        terminalreporter.section("durations by folder")
        for folder, duration in sorted(seconds.items(), key=lambda row: -row[1]):
            terminalreporter.line(f"{folder:24} {tests[folder]:5} tests {duration:7.1f} s")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For `make fuzz`: only the properties, with many more examples of each, also if a test sets the number."""
    if config.getoption("--hypothesis-profile") != "fuzz":
        return
    properties = [
        item for item in items if isinstance(item, pytest.Function) and getattr(item.obj, "is_hypothesis_test", False)
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in properties])
    items[:] = properties
    for test in {getattr(item.obj, "__func__", item.obj) for item in properties}:
        own = getattr(test, "_hypothesis_internal_use_settings", None)  # a profile does not change @settings
        if own is not None and own.max_examples != settings().max_examples:
            test._hypothesis_internal_use_settings = settings(own, max_examples=TIMES * own.max_examples)
