"""The package, built once per run, and the number of assertions that held."""

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box.box import Box, Lacking
from tests.daemon import TOP

HELD = pytest.StashKey[int]()
MISSING = 1  # the exit code of debian/build-package if its tools are not installed
ENOUGH = 1500  # seconds: many tests, and possibly a download of wheels


def pytest_assertion_pass(item: pytest.Item) -> None:
    """Count the assertions: `make test-system` enables this hook of pytest."""
    item.config.stash[HELD] = item.config.stash.get(HELD, 0) + 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how many held."""
    if HELD in config.stash:
        terminalreporter.line(f"{config.stash[HELD]} assertions held in tests/box")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The Debian package, built from an sdist as `make deb` does, by the first process of the run that wants it."""
    if not Path("/etc/debian_version").exists():
        pytest.skip("a Debian package can only be built on Debian")
    top = tmp_path_factory.getbasetemp()
    folder = (top if worker_id == "master" else top.parent) / "package"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return next(folder.glob("*.deb"), None) or build(folder)


def build(folder: Path) -> Path:
    """Build it; the test is skipped if the tools are not installed."""
    sdist = str(folder / "echod.tar.gz")
    for words in (
        [sys.executable, "-m", "build", "--sdist", "--outdir", str(folder), str(TOP)],
        [str(TOP / "debian" / "build-package"), sdist, str(folder)],
    ):
        for made in folder.glob("txechod-*.tar.gz"):
            made.rename(sdist)
        ended = subprocess.run(words, check=False, capture_output=True, text=True, timeout=ENOUGH)
        if ended.returncode == MISSING and "needs these" in ended.stderr:
            pytest.skip(ended.stderr.strip())
        assert ended.returncode == 0, ended.stdout + ended.stderr
        print(ended.stdout)
    [path] = folder.glob("*.deb")
    return path


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """A machine for the tests of one file."""
    try:
        made = Box()
        made.__enter__()
    except Lacking as lacking:
        pytest.skip(str(lacking))
    try:
        yield made
    finally:
        made.__exit__(None, None, None)
