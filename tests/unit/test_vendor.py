"""What the packages carry is what setup.cfg asks for, but for what they leave out, and say so."""

import ast
import configparser
import re
from pathlib import Path

from echod.version import VERSION

TOP = Path(__file__).parents[2]
RUNTIME = (TOP / "vendor" / "runtime.txt").read_text("utf-8")
PINNED = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)$", RUNTIME))
[LEFT_OUT] = [named.split() for named in re.findall(r"(?m)^# left out: (.*)$", RUNTIME)]
IMPORTED_AS = {"service-identity": "service_identity", "markdown-it-py": "markdown_it", "Pygments": "pygments"}


def plain(name):
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required():
    parser = configparser.ConfigParser()
    parser.read(TOP / "setup.cfg", "utf-8")
    return dict(re.findall(r"(?m)^([\w-]+)(?:\[\w+\])?(?:>=([0-9.]+))?", parser["options"]["install_requires"]))


def test_everything_that_is_required_is_carried_or_left_out_for_a_reason():
    carried = {plain(name) for name in PINNED}
    assert {plain(name) for name in required()} <= carried | {plain(name) for name in LEFT_OUT}
    assert not carried & {plain(name) for name in LEFT_OUT}


def test_every_requirement_is_imported():
    imported = set()
    for path in (TOP / "echod").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported |= {plain(name.partition(".")[0]) for name in names}
    for_what_comes = {"service-identity", "rich", "wcwidth"}  # TLS; tables and live views of echoctl
    assert {plain(name) for name in required()} - imported <= for_what_comes


def test_what_is_carried_is_new_enough():
    pinned = {plain(name): version for name, version in PINNED.items()}
    for name, least in required().items():
        if least and plain(name) in pinned:
            assert [int(part) for part in pinned[plain(name)].split(".")] >= [int(part) for part in least.split(".")]


def test_nothing_of_ours_imports_what_is_left_out():
    for path in (TOP / "echod").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            tops = {name.partition(".")[0] for name in names}
            assert not tops & {IMPORTED_AS.get(name, name) for name in LEFT_OUT}, path


def test_the_packages_have_the_version_of_the_code():
    changelog = (TOP / "debian" / "changelog").read_text("utf-8")
    assert changelog.startswith(f"echod ({VERSION}) ")
