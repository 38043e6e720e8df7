"""The wheel, the sdist and the tree can be installed, and each installs a working daemon."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from echod.version import VERSION

pytestmark = [pytest.mark.needs_tools, pytest.mark.timeout(600)]  # builds and installs: it may have to download

TOP = Path(__file__).parents[2]
# Besides what is installed and built, the folder that an sdist is made in, which tests/box removes again.
WRITTEN = shutil.ignore_patterns(
    *(".git", ".venv", "*.so", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist", "dropin.cache"),
    "txechod-*",
)


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command that must succeed; a failure shows its errors."""
    # Modules of the tree that runs the tests must not be importable.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ended = subprocess.run(command, check=False, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tree without files that were generated in it."""
    return shutil.copytree(TOP, tmp_path_factory.mktemp("tree") / "echod", ignore=WRITTEN)


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory):
    """The folder of the sdist, and of the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, tree, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(built):
    (path,) = built.glob("*.tar.gz")
    return path


def test_the_wheel_contains_exactly_the_modules(wheel):
    names = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(TOP)) for path in (TOP / "echod").rglob("*.py")}
    data = {
        str(path.relative_to(TOP))
        for path in (TOP / "echod/pages").rglob("*")
        if path.suffix != ".pyc" and path.is_file()
    } - modules
    assert {"echod/pages/try.html", "echod/pages/words.toml", "echod/pages/vendor/uplot/LICENSE"} <= data
    assert modules | data | {"echod/py.typed", "twisted/plugins/echod_plugin.py"} <= names
    assert {name for name in names if name.endswith(".py")} == modules | {"twisted/plugins/echod_plugin.py"}
    assert {name.partition("/")[0] for name in names} == {"echod", "twisted"}


def test_the_wheel_has_its_metadata(wheel):
    with ZipFile(wheel) as file:
        (metadata,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        said = file.read(metadata).decode()
        assert any(name.endswith("/LICENSE") for name in file.namelist())
    assert f"\nName: txechod\nVersion: {VERSION}\n" in said
    assert "\nLicense-Expression: MIT\n" in said
    assert "\nProject-URL: Source, https://" in said
    extras = set(re.findall(r"(?m)^Requires-Dist: (\w+)\[", said))
    assert extras == {"txechod"}
    links = re.findall(r"\]\(([^)]+)\)", said)
    assert links, "the long description has no link"
    assert [link for link in links if not link.startswith("https://")] == []
    assert "\nRequires-Python: >=3.11\n" in said


def test_the_sdist_overwrites_no_file_of_twisted(sdist):
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {name for name in names if re.match(r"twisted/.*\.py$", name)} == {"twisted/plugins/echod_plugin.py"}
    assert {"LICENSE", "pyproject.toml", "setup.cfg"} <= names


def test_the_wheel_is_for_one_platform_and_every_python(wheel):
    assert re.search(r"-py3-none-linux_\w+\.whl$", wheel.name)
    assert "echod/fastpath/libnative_loop.so" in ZipFile(wheel).namelist()


def test_without_a_compiler_the_wheel_is_for_every_platform(tree, tmp_path):
    """The fast path then runs in Python."""
    command = ["env", "CC=false", sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, tree]
    run(*command, cwd=tmp_path)
    (made,) = tmp_path.glob("*.whl")
    assert made.name.endswith("-py3-none-any.whl")
    assert not [name for name in ZipFile(made).namelist() if name.endswith((".so", ".c"))]


@pytest.mark.parametrize("form", ["wheel", "sdist", "editable"])
def test_each_distribution_installs_a_daemon_that_twistd_finds(form, request, tmp_path):
    fresh = tmp_path / "venv"
    venv.create(fresh, symlinks=True)
    python = fresh / "bin" / "python"
    if form == "editable":
        what = ["--config-settings", "editable_mode=compat", "--editable", request.getfixturevalue("tree")]
    else:
        what = [request.getfixturevalue(form)]
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *what, cwd=tmp_path)

    assert re.search(r"^ +echod +\S", run(fresh / "bin" / "twistd", "--help", cwd=tmp_path), re.MULTILINE)
    for command in ([python, "-m", "echod"], [fresh / "bin" / "echod"]):
        assert VERSION in run(*command, "--version", cwd=tmp_path)
    run(fresh / "bin" / "echoctl", "--help", cwd=tmp_path)
    loaded = "import echod.fastpath.native_library as native; print(native.library is not None)"
    assert run(python, "-P", "-c", loaded, cwd=tmp_path) == "True\n"
