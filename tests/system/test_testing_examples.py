"""docs/TESTING.md: each example is a file that runs as it is, and the tables have every argument and member."""

import inspect
import re
import sys
from pathlib import Path

import pytest

from echod.testing import Daemon
from tests.daemon import TOP, run

PAGE = (TOP / "docs" / "TESTING.md").read_text("utf-8")
BLOCKS = re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", PAGE)
EXAMPLES = TOP / "examples" / "testing"
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", "/dev/null")
COMMANDS = {
    "test_with_pytest.py": PYTEST,
    "test_with_unittest.py": (sys.executable,),
    "test_with_asyncio.py": (sys.executable,),
    "test_with_trial.py": (sys.executable, "-m", "twisted.trial", "--temp-directory", "{dir}/trial"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_example_runs_as_it_is(name, tmp_path):
    command = [word.replace("{dir}", str(tmp_path)) for word in COMMANDS[name]]
    ended = run(*command, name.removesuffix(".py") if "trial" in name else name, cwd=EXAMPLES)
    assert ended.returncode == 0, ended.stdout.decode() + ended.stderr.decode()


def test_the_page_has_each_example_as_it_is():
    named = re.findall(r"\[\S+\]\(\.\./examples/testing/(\S+)\)", PAGE)
    texts = [text for _, text in BLOCKS]
    assert sorted(named) == sorted(path.name for path in EXAMPLES.iterdir() if path.is_file())
    for name in named:
        assert (EXAMPLES / name).read_text("utf-8") in texts, name


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2))
def test_the_other_programs_run(number, tmp_path):
    files = {path.read_text("utf-8") for path in EXAMPLES.iterdir() if path.is_file()}
    others = [text for language, text in BLOCKS if language == "python" and text not in files]
    assert len(others) == 2
    file: Path = tmp_path / "test_other.py"
    file.write_text(others[number])
    command = PYTEST if "def test" in others[number] else (sys.executable,)
    ended = run(*command, file, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout.decode() + ended.stderr.decode()


def test_the_tables_have_every_argument_and_member():
    section = PAGE.partition("\n## Daemon\n")[2].partition("\n## ")[0]
    arguments, members = (part.partition("\n\n")[0] for part in section.split("| --- | --- |\n")[1:])
    signature = inspect.signature(Daemon)
    names = {f"*{name}" if one.kind is one.VAR_POSITIONAL else name for name, one in signature.parameters.items()}
    assert set(re.findall(r"`([*\w]+)`", "".join(row.split("|")[1] for row in arguments.splitlines()))) == names
    daemon = Daemon("echo=tcp://127.0.0.1:0")
    daemon.close()
    public = {name for name in dir(daemon) if not name.startswith("_")}
    assert set(re.findall(r"`(\w+)", "".join(row.split("|")[1] for row in members.splitlines()))) == public
