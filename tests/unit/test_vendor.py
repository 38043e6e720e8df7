"""The packages contain the requirements of setup.cfg, except for those that they document as left out."""

import ast
import configparser
import re
from pathlib import Path

import pytest

from echod.version import VERSION

TOP = Path(__file__).parents[2]
RUNTIME = (TOP / "vendor" / "runtime.txt").read_text("utf-8")
PINNED = dict(re.findall(r"(?m)^([\w.-]+)==(\S+) \\$", RUNTIME))
[LEFT_OUT] = [named.split() for named in re.findall(r"(?m)^# left out: (.*)$", RUNTIME)]
IMPORTED_AS = {"service-identity": "service_identity", "markdown-it-py": "markdown_it", "Pygments": "pygments"}


def plain(name):
    """The normalised name of a distribution."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required():
    parser = configparser.ConfigParser()
    parser.read(TOP / "setup.cfg", "utf-8")
    return dict(re.findall(r"(?m)^([\w-]+)(?:\[\w+\])?(?:>=([0-9.]+))?", parser["options"]["install_requires"]))


def test_every_requirement_is_contained_or_left_out_with_a_reason():
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


def test_contained_versions_are_new_enough():
    pinned = {plain(name): version for name, version in PINNED.items()}
    for name, least in required().items():
        if least and plain(name) in pinned:
            assert [int(part) for part in pinned[plain(name)].split(".")] >= [int(part) for part in least.split(".")]


def test_echod_does_not_import_the_requirements_left_out():
    for path in (TOP / "echod").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            tops = {name.partition(".")[0] for name in names}
            assert not tops & {IMPORTED_AS.get(name, name) for name in LEFT_OUT}, path


def test_the_description_of_the_debian_package_fits_a_terminal():
    """Lintian, which `make deb` runs at the end, refuses longer lines."""
    control = (TOP / "debian" / "control").read_text("utf-8")
    assert [line for line in control.splitlines() if len(line) > 80] == []


def test_the_packages_have_the_version_of_the_code():
    changelog = (TOP / "debian" / "changelog").read_text("utf-8")
    assert changelog.startswith(f"echod ({VERSION}) ")


@pytest.mark.parametrize("name", ["runtime.txt", "build.txt"])
def test_every_pin_has_the_hashes_of_its_wheels(name):
    text = (TOP / "vendor" / name).read_text("utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    assert len(lines) > 10
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==\S+( ; [^-]*?)?( +--hash=sha256:[0-9a-f]{64})+ *", line), line


def test_the_requirements_of_the_build_are_pinned():
    asked = (TOP / "vendor" / "build.in").read_text("utf-8")
    pinned = (TOP / "vendor" / "build.txt").read_text("utf-8")
    names = re.findall(r"(?m)^([\w-]+)[><=]", asked)
    assert names
    assert {plain(name) for name in names} <= {plain(name) for name in re.findall(r"(?m)^([\w.-]+)==", pinned)}


def test_pip_is_called_with_required_hashes():
    callers = ("vendor/install", "vendor/build", "debian/build-package", "docs/INSTALL.md")
    calls = [
        call
        for caller in callers
        for call in re.findall(r"-m pip (?:install|download)(?:.*\\\n)*.*", (TOP / caller).read_text("utf-8"))
        if "runtime.txt" in call or "build.txt" in call or "$wheels" in call
    ]
    assert len(calls) == 5
    assert all("--require-hashes" in call for call in calls)
