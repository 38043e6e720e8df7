"""The examples of docs/TESTING.md in other languages, with the compilers and runtimes of the system."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.daemon import SECONDS, TOP, environment, run

pytestmark = pytest.mark.needs_tools

EXAMPLES = TOP / "examples" / "testing"
COMMANDS = {"client_test.go": ("go", "test"), "client.test.mjs": ("node", "--test")}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_example_runs_as_it_is(name, tmp_path):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    file = shutil.copy(EXAMPLES / name, tmp_path)
    words = COMMANDS[name]
    environ = environment(PATH=path, GOCACHE=str(tmp_path / "cache"))
    ended = run(*words, file, cwd=tmp_path, env=environ, seconds=4 * SECONDS)  # Go compiles its library
    assert ended.returncode == 0, ended.stdout.decode() + ended.stderr.decode()
