"""A release: its checks refuse a wrong tree, and its distributions are reproducible, complete and tested."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from echod.version import VERSION

pytestmark = [pytest.mark.needs_tools, pytest.mark.timeout(900)]

TOP = Path(__file__).parents[2]
PYTHON = TOP / ".venv" / "bin" / "python"
NEXT = f"{int(VERSION.partition('.')[0]) + 1}.0.0"
NAMED = ("echod/version.py", "debian/changelog", "rpm/echod.spec")  #: the files that name the version


def git(tree, *words):
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    subprocess.run(["git", *identity, *words], cwd=tree, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path):
    """A separate repository with the tree of this commit, prepared for the next version, on main."""
    if not PYTHON.exists() or shutil.which("git") is None:
        pytest.skip("it needs .venv and git, which `make test-system` provides")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, check=False, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this tree is not a git repository")
    tree = tmp_path / "tree"
    for name in filter(None, listed.stdout.split("\0")):
        if (TOP / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, tree / name)
    for name in NAMED:
        file = tree / name
        file.write_text(file.read_text("utf-8").replace(VERSION, NEXT, 1), "utf-8")
    for name in ("services/next.feature.md", "tls/next.feature.md"):
        (tree / "newsfragments" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "newsfragments" / name).write_text("It is new.\n", "utf-8")
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "tree")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "start")
    return tree


def release(tree, *words):
    names = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org"}
    names |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org"}
    environment = {**os.environ, **names, "PYTHON": os.path.relpath(PYTHON, tree)}  # as in the Makefile
    return subprocess.run(
        [tree / "release" / "release", *words], cwd=tree, env=environment, check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("version", "complaint"),
    [("1.0", "is not a version"), ("99.0.0", "echod/version.py names another version than 99.0.0")],
)
def test_a_wrong_version_is_refused(tree, version, complaint):
    ended = release(tree, version)
    assert ended.returncode == 1
    assert complaint in ended.stderr


def test_a_changed_tree_and_another_branch_are_refused(tree):
    (tree / "README.md").write_text("changed")
    assert "not committed" in release(tree, NEXT).stderr
    git(tree, "checkout", "--quiet", "--", "README.md")
    git(tree, "checkout", "--quiet", "-b", "other")
    assert "the branch is not main" in release(tree, NEXT).stderr


def test_a_release_is_complete_and_a_second_one_is_refused(tree):
    ended = release(tree, NEXT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    chapter = (tree / "CHANGELOG.md").read_text("utf-8").partition(f"## {NEXT} (")[2]
    assert 0 < chapter.index("### Added") < chapter.index("#### Services") < chapter.index("#### TLS")
    assert {path.name for path in (tree / "newsfragments").rglob("*.md")} == {"README.md", "template.md"}
    tags = subprocess.run(["git", "tag"], cwd=tree, check=True, capture_output=True, text=True).stdout
    assert tags.split() == [f"v{NEXT}"]
    first = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tree / "dist").iterdir()}
    assert len(first) == 2
    assert "exists" in release(tree, NEXT).stderr

    environment = {**os.environ, "PYTHON": str(PYTHON)}
    command = [tree / "release" / "build", tree / "again", "--untried"]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    wheels = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tree / "again").glob("*.whl")}
    assert wheels.items() <= first.items()
