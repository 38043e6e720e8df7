"""The fixtures of pytest: `echod`, a daemon for one test, and `echod_factory`. docs/TESTING.md has examples.

pytest imports this module in every run, so it imports nothing else before a test uses a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from echod.testing import Daemon

DEFAULT: Final = ("echo=tcp://127.0.0.1:0", "echo=udp://127.0.0.1:0")
"""The addresses that the fixture `echod` serves if the test has no mark."""
_STARTED: Final = pytest.StashKey[list["Daemon"]]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line("markers", "echod(*listen, **options): the arguments of the daemon of the fixture echod")


@pytest.fixture
def echod_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., Daemon]]:
    """A function that starts a daemon with the arguments of `echod.testing.Daemon`. All stop after the test."""
    from echod.testing import Daemon

    daemons = request.node.stash.setdefault(_STARTED, [])
    with ExitStack() as stack:

        def start(*listen: str, **options: Any) -> Daemon:
            daemon = Daemon(*listen, **options)
            daemons.append(daemon)
            return stack.enter_context(daemon)

        yield start


@pytest.fixture
def echod(request: pytest.FixtureRequest, echod_factory: Callable[..., Daemon]) -> Daemon:
    """A daemon for one test, with the arguments of its mark `@pytest.mark.echod(…)`, or with echo over TCP and UDP."""
    mark = request.node.get_closest_marker("echod")
    if mark is None:
        return echod_factory(*DEFAULT)
    listen = mark.args if mark.args or "config" in mark.kwargs else DEFAULT
    return echod_factory(*listen, **mark.kwargs)


@pytest.hookimpl(hookwrapper=True)  # releases of pytest before 8 do not know the newer `wrapper`
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Add the logs of the test's daemons to the report of a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        daemons: list[Daemon] = item.stash.get(_STARTED, [])
        for number, daemon in enumerate(daemons, 1):
            report.sections.append((f"Log of echod {number}", daemon.log))
