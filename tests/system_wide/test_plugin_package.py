"""The kind of tests/plugin_package, installed beside echod as its users would install it."""

import shutil
import socket
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.daemon import SECONDS, TOP, Daemon, environment
from tests.daemon import run as run_process

pytestmark = [pytest.mark.needs_tools, pytest.mark.timeout(600)]  # pip builds: it may have to download

# Besides what is installed and built, the folder that an sdist is made in, which tests/box removes again.
WRITTEN = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "dropin.cache", "txechod-*")
ELSEWHERE = environment(PYTHONPATH="", PYTHONDONTWRITEBYTECODE="1")  # modules of this tree cannot be imported
EX_CONFIG = 78
SERVED = """
[services.secret]
kind = "rot13"
places = 1
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
[services.rot13]
listen = ["tcp://127.0.0.1:0"]
"""
SOUR = "echod_broken:Sour"
PROJECT = f"""
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "echod-broken"
version = "1.0"
[project.entry-points."echod.services"]
sour = "{SOUR}"
[tool.setuptools]
py-modules = ["echod_broken"]
"""


class Site:
    """A virtual environment with echod, which uses the dependencies of the Python that runs the tests."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.bin = folder / "bin"
        (self.packages,) = folder.glob("lib/python*/site-packages")
        (self.packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(self, *words, code=0):
        """The standard output and the standard error of a program of this environment."""
        process = run_process(self.bin / words[0], *words[1:], env=ELSEWHERE, cwd=self.bin)
        said, wrong = process.stdout.decode(), process.stderr.decode()
        assert process.returncode == code, f"{words}: {process.returncode}\n{said}{wrong}"
        return said, wrong

    def install(self, tree):
        self._pip("install", "--no-deps", "--no-compile", tree)

    def uninstall(self, name):
        self._pip("uninstall", "--yes", name)

    def _pip(self, *words):
        pip = (sys.executable, "-m", "pip", "--quiet", "--python", self.bin / "python")
        process = run_process(*pip, *words, env=ELSEWHERE, seconds=300)
        assert process.returncode == 0, process.stderr.decode()


@pytest.fixture(scope="module")
def echod(tmp_path_factory):
    """A Site with echod only."""
    folder = tmp_path_factory.mktemp("site")
    tree = shutil.copytree(TOP, folder / "echod", ignore=WRITTEN)
    site = Site(folder / "venv")
    site.install(tree)
    return site


@pytest.fixture(scope="module")
def rot13(echod, tmp_path_factory):
    """A Site that also has the kind of tests/plugin_package."""
    package = shutil.copytree(TOP / "tests/plugin_package", tmp_path_factory.mktemp("plugin") / "rot13", ignore=WRITTEN)
    echod.install(package)
    yield echod
    echod.uninstall("echod-rot13")


@pytest.fixture(scope="module")
def broken(echod, tmp_path_factory):
    """A Site with a package whose kind is written by `breaking`."""
    package = tmp_path_factory.mktemp("broken")
    (package / "pyproject.toml").write_text(PROJECT)
    (package / "echod_broken.py").touch()
    echod.install(package)
    yield echod
    echod.uninstall("echod-broken")


def checked(site, text, tmp_path, code=0):
    """The output of `echoctl check` and of the daemon for a configuration, which must be the same."""
    file = tmp_path / "echod.toml"
    file.write_text(text)
    by_client = site.run("echoctl", "check", file, code=code)
    by_daemon = site.run("python", "-m", "echod", "--config", file, "--check-config", code=code)
    assert [said.replace("echoctl: ", "echod: ") for said in by_client] == list(by_daemon)
    return by_daemon


def refused(site, text, tmp_path):
    """The one line that refuses a configuration, both in the checks and at the daemon's start."""
    said, wrong = checked(site, text, tmp_path, EX_CONFIG)
    assert said == ""
    assert site.run("python", "-m", "echod", "--config", tmp_path / "echod.toml", code=EX_CONFIG) == ("", wrong)
    assert wrong.count("\n") == 1
    return wrong


def test_the_kind_is_listed_with_its_option(rot13):
    said, _ = rot13.run("echoctl", "services")
    assert "rot13" in said
    assert "returns the input with its letters rotated" in said
    assert "places" in said
    assert "how far each letter is rotated, from 1 to 25" in said


def test_the_kind_can_be_configured(rot13, tmp_path):
    said, wrong = checked(rot13, SERVED, tmp_path)
    assert wrong == ""
    assert [line.split() for line in said.splitlines()] == [
        ["secret", "tcp://127.0.0.1:0"],
        ["secret", "udp://127.0.0.1:0"],
        ["rot13", "tcp://127.0.0.1:0"],
    ]


def test_the_kind_replies(rot13):
    with Daemon(SERVED, command=[rot13.bin / "python", "-m", "echod"], environ={"PYTHONPATH": ""}) as daemon:
        assert over_tcp(daemon, "secret", b"Hal, \xff\r\n") == b"Ibm, \xff\r\n"
        assert over_tcp(daemon, "rot13", b"Why did the chicken") == b"Jul qvq gur puvpxra"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(SECONDS)
            client.connect(daemon.place("secret", "udp"))
            client.send(b"zzz")
            assert client.recv(99) == b"aaa"
        daemon.check()
        assert daemon.stop() == 0


def over_tcp(daemon, service, question):
    with socket.socket() as client:
        client.settimeout(SECONDS)
        client.connect(daemon.place(service, "tcp"))
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").read()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ('places = "13"', "services.secret.places: must be a whole number"),
        ("places = 26", "services.secret.places: must be a whole number from 1 to 25, not 26"),
        ("place = 13", "services.secret.place: unknown key; did you mean places?"),
    ],
)
def test_a_wrong_option_is_one_clear_line(rot13, tmp_path, option, said):
    text = f'[services.secret]\nkind = "rot13"\n{option}\nlisten = ["tcp://127.0.0.1:10013"]\n'
    assert said in refused(rot13, text, tmp_path)


UNUSED = '[services.echo]\nlisten = ["tcp://127.0.0.1:0"]\n'
USED = '[services.sour]\nlisten = ["tcp://127.0.0.1:0"]\n'
KIND = "from echod.model import Service\nclass Sour(Service):\n    kind = "
BROKEN = {
    "raises": ("raise RuntimeError('no lemons\\nleft')", "no lemons\\x0aleft"),
    "imports": ("import lemons", "No module named 'lemons'"),
    "does not parse": ("class Sour(", "'(' was never closed"),
    "does not exist": ("", "has no attribute 'Sour'"),
    "is a number": ("Sour = 42", "is not a subclass of echod.model.Service"),
    "is not a service": ("class Sour:\n    kind = 'sour'", "is not a subclass of echod.model.Service"),
    "has another name": (f"{KIND} 'sweet'", "has the kind 'sweet'"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_kind_is_one_clear_line(broken, tmp_path, how):
    source, said = BROKEN[how]
    (broken.packages / "echod_broken.py").write_text(source)
    line = refused(broken, USED, tmp_path)
    assert "services.sour.kind: kind 'sour': echod_broken" in line or "services.sour: kind 'sour'" in line, line
    assert said in line
    said, wrong = checked(broken, UNUSED, tmp_path)
    assert (said.split(), wrong) == (["echo", "tcp://127.0.0.1:0"], "")  # a configuration that does not use it


def test_a_kind_with_the_name_of_a_built_in_kind_changes_nothing(broken, tmp_path):
    (broken.packages / "echod_broken.py").write_text(f"{KIND} 'echo'")
    (entries,) = broken.packages.glob("echod_broken-*.dist-info/entry_points.txt")
    was = entries.read_text()
    entries.write_text(was.replace("sour", "echo"))
    said, wrong = checked(broken, UNUSED, tmp_path)
    _, told = broken.run("echoctl", "services", code=1)
    entries.write_text(was)
    assert (said.split(), wrong) == (["echo", "tcp://127.0.0.1:0"], "")
    assert told == f"echoctl: kind 'echo' of {SOUR} exists already: echod.services.echo\n"


@pytest.mark.parametrize("error", ["RuntimeError", "KeyError: 'lemons'", "SystemExit: 3"])
def test_the_exception_of_a_broken_kind_is_named(broken, tmp_path, error):
    name, _, value = error.partition(": ")
    (broken.packages / "echod_broken.py").write_text(f"raise {name}({value})")
    line = refused(broken, USED, tmp_path)
    assert f"cannot be loaded: {error}" in line
